// Keys and values of a prompt in a file, so that another prompt with the same beginning need not compute them again.
// Implements spec/prompt_cache.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "format/base/hash.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

class PromptCache {
 public:
  /// The file need not exist. Takes what tells this model from others; does not keep the model.
  PromptCache(const std::filesystem::path& path, const tensor::Model& model);

  /// Begins the session's sequence anew with what the file has of the beginning of `prompt`, and returns how many
  /// tokens that are: never the last one, whose logits are wanted; none without a file. Throws Error when the file is
  /// damaged, or of another model, key/value type or numerics.
  [[nodiscard]] std::uint64_t restore(Session& session, std::span<const std::uint32_t> prompt);
  /// Replaces the file by what the session has read, unless the one that restore() saw begins with that. Throws io.
  void save(Session& session);

 private:
  std::filesystem::path path_;
  Hash128 model_;
  std::vector<std::uint32_t> held_;  // tokens in the file, as far as we know
};

}  // namespace ingot::runtime
