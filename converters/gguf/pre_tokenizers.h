// Names of pre-tokenizers in GGUF (`tokenizer.ggml.pre`) and what they stand for. Included by the gguf_tokenizer*.cpp
// files only.
#pragma once

#include <string_view>

namespace ingot::convert::gguf {

struct PreTokenizerRow {
  std::string_view name;     // in the file
  std::string_view pattern;  // regex family (PreTokenizer::pattern)
  bool single_digits;        // every digit is cut out before
  bool ignore_merges;
};

/// Null when unknown.
[[nodiscard]] const PreTokenizerRow* find_pre_tokenizer(std::string_view name) noexcept;
/// The first name with this behaviour; null when there is none.
[[nodiscard]] const PreTokenizerRow* find_pre_tokenizer(std::string_view pattern, bool single_digits,
                                                        bool ignore_merges) noexcept;

}  // namespace ingot::convert::gguf
