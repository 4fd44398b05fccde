// Names of shards: `<prefix>-00001-of-00003.gguf`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/error.h"

namespace ingot::convert::gguf {

struct ShardName {
  std::string_view prefix;  // views into the file name
  std::uint32_t number = 1;
  std::uint32_t count = 1;
};
[[nodiscard]] std::optional<ShardName> parse_shard_name(std::string_view file_name);
[[nodiscard]] std::string shard_file_name(std::string_view prefix, std::uint32_t number, std::uint32_t count);

/// The files of the set that `path` belongs to, in order: a file without shard numbers alone; any shard of a set; or
/// a directory that holds one file or one set. Throws io naming the missing shards, invalid_value when a directory
/// holds several models.
[[nodiscard]] std::vector<std::filesystem::path> shard_paths(const std::filesystem::path& path);

}  // namespace ingot::convert::gguf
