// `tokenizer.*` keys <-> TokenizerSpec.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "converters/gguf/file.h"
#include "format/tensor/tokenizer_spec.h"

namespace ingot::convert::gguf {

inline constexpr std::uint64_t kMaxTokens = std::uint64_t{1} << 20;  // ours, keeps memory bounded
inline constexpr std::uint64_t kMaxMerges = std::uint64_t{1} << 20;

/// Empty when the file has no tokenizer, or one of a kind that has no TokenizerSpec (its keys stay in the header
/// attachment). Throws invalid_value naming the key for arrays of a wrong type or length.
[[nodiscard]] std::optional<tensor::TokenizerSpec> read_tokenizer(const GgufFile& file);

/// What keys name tokens that `spec` does not have: a finding for each.
[[nodiscard]] std::vector<std::string> unknown_special_tokens(const GgufFile& file, const tensor::TokenizerSpec& spec);

/// Adds the keys. `embedding_rows`: the token list is padded to this length with `[PAD<id>]`; 0: no padding. Throws
/// unsupported when llama.cpp would tokenize differently (unknown pre-tokenizer, a normalizer that it lacks),
/// invalid_value when the tokens do not fit.
void write_tokenizer(HeaderBuilder& header, const tensor::TokenizerSpec& spec, std::uint64_t embedding_rows);

}  // namespace ingot::convert::gguf
