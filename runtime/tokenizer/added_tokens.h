// Finds added tokens in text: leftmost first, the longest of those that begin at the same place.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/tensor/tokenizer_spec.h"

namespace ingot::runtime {

/// A run of text, or (id set) one token.
struct Fragment {
  static constexpr std::uint32_t kText = ~std::uint32_t{0};
  std::string_view text;  // borrowed
  std::uint32_t id = kText;
};

class AddedTokenMatcher {
 public:
  /// Adds one token under the text by which it is matched (its own, or its normalized form). Empty texts never match.
  void add(const tensor::AddedToken& token, std::string text);
  /// Cuts `text` at the tokens. Special tokens take part only with `parse_special`.
  [[nodiscard]] std::vector<Fragment> split(std::string_view text, bool parse_special) const;

 private:
  struct Entry {
    std::string text;
    tensor::AddedToken token;
  };
  [[nodiscard]] const Entry* longest_at(std::string_view text, std::size_t at, bool parse_special) const noexcept;

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;
  std::vector<std::uint32_t> lengths_[256];  // by first byte, longest first
};

}  // namespace ingot::runtime
