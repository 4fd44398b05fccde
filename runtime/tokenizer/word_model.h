// From one word to token ids: the vocabulary models. One file each; word_model.cpp holds the table.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/tensor/tokenizer_spec.h"

namespace ingot::runtime {

/// Token text -> id. The lowest id wins where a text occurs twice.
class Vocabulary {
 public:
  static constexpr std::uint32_t kAbsent = ~std::uint32_t{0};
  explicit Vocabulary(const tensor::TokenizerSpec& spec);
  [[nodiscard]] std::uint32_t find(std::string_view text) const noexcept;
  /// Id of "<0xXX>", or kAbsent.
  [[nodiscard]] std::uint32_t byte_token(unsigned char byte) const noexcept { return bytes_[byte]; }
  /// Appends the byte tokens of `text` if all of them exist.
  [[nodiscard]] bool append_bytes(std::string_view text, std::vector<std::uint32_t>& ids) const;
  [[nodiscard]] std::size_t longest_bytes() const noexcept { return longest_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>> ids_;
  std::uint32_t bytes_[256];
  std::size_t longest_ = 0;
};

/// Immutable, thread-safe.
class WordModel {
 public:
  virtual ~WordModel() = default;
  /// Appends the ids of one word (valid UTF-8, not empty).
  virtual void encode(std::string_view word, std::vector<std::uint32_t>& ids) const = 0;
};

// The models borrow the spec, which must outlive them. They throw invalid_value for vocabularies that contradict
// themselves.
[[nodiscard]] std::unique_ptr<WordModel> make_ranked_bpe(const tensor::TokenizerSpec& spec);  // byte_bpe, char_bpe
[[nodiscard]] std::unique_ptr<WordModel> make_scored_bpe(const tensor::TokenizerSpec& spec);  // spm_bpe
[[nodiscard]] std::unique_ptr<WordModel> make_unigram(const tensor::TokenizerSpec& spec);
[[nodiscard]] std::unique_ptr<WordModel> make_word_model(const tensor::TokenizerSpec& spec);  // by spec.kind

// The reversible map between bytes and printable characters of byte-level BPE (spec/tokenizer.md).
[[nodiscard]] const std::string& byte_character(unsigned char byte) noexcept;
/// The bytes that `token` stands for; false (and `bytes` untouched) when it holds a character outside the map.
[[nodiscard]] bool bytes_of_characters(std::string_view token, std::string& bytes);

}  // namespace ingot::runtime
