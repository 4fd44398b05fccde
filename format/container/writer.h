// The write behind container::write and container::compact. Internal to format/container.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/container/container.h"
#include "format/container/index.h"

namespace ingot::container {

/// What compact and the writer of sets know beyond the model: values that are already proven, index members that this
/// version does not understand, files that hold further tensors.
struct WriteExtras {
  bool reuse_fingerprints = false;
  std::vector<SetMember> members;  // not empty: the file becomes a manifest
  JsonObject unknown_members;
  std::optional<Bytes> tokenizer;  // the bytes of the tokenizer attachment as they were
};

/// Throws where the model is none that a reader would open.
void check_writable(const tensor::Model& model, std::string_view where);
/// The index of `model` without tensors and with every number as long as it may be: what a file holds beside them.
[[nodiscard]] std::string largest_index_text(const tensor::Model& model, std::string_view where);

/// One file.
[[nodiscard]] WriteResult write_model(const tensor::Model& model, const std::filesystem::path& path,
                                      const WriteOptions& options, const WriteExtras& extras);

/// A set, or one file when the model fits into `options.shard_bytes` (set_writer.cpp).
[[nodiscard]] WriteResult write_set(const tensor::Model& model, const std::filesystem::path& path,
                                    const WriteOptions& options);

}  // namespace ingot::container
