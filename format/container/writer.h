// The write behind container::write and container::compact. Internal to format/container.
#pragma once

#include <filesystem>
#include <optional>

#include "format/container/container.h"
#include "format/container/index.h"

namespace ingot::container {

/// What compact knows beyond the model: values that are already proven and members that this version does not understand.
struct WriteExtras {
  bool reuse_fingerprints = false;
  JsonObject unknown_members;
  std::optional<Bytes> tokenizer;  // the bytes of the tokenizer attachment as they were
};

[[nodiscard]] WriteResult write_model(const tensor::Model& model, const std::filesystem::path& path,
                                      const WriteOptions& options, const WriteExtras& extras);

}  // namespace ingot::container
