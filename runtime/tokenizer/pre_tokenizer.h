// Cuts normalized text into the words that a vocabulary model sees: the known families of regular expressions as
// hand-written scanners over Unicode categories, and the simple splitters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/tokenizer_spec.h"

namespace ingot::runtime {

struct Piece {
  std::string text;
  bool at_start = false;  // begins at the first byte of the whole input
};

/// A sequence of steps applied in order, each to the pieces left by the one before. Immutable.
class PreTokenizer {
 public:
  /// Throws unsupported naming the step.
  explicit PreTokenizer(const std::vector<tensor::PreTokenizer>& steps);
  /// `fragment` is valid UTF-8; `at_start` as in Piece.
  [[nodiscard]] std::vector<Piece> split(std::string fragment, bool at_start) const;

 private:
  std::vector<tensor::PreTokenizer> steps_;
};

/// One character of a piece as the scanners see it.
struct ScannedChar {
  char32_t code;
  std::uint32_t offset;  // bytes from the start of the piece
};
/// Returns the end of the word that begins at character `at`; always > at.
using WordScanner = std::size_t (*)(const std::vector<ScannedChar>& text, std::size_t at);
/// Null when the family is unknown.
[[nodiscard]] WordScanner word_scanner(std::string_view family) noexcept;

}  // namespace ingot::runtime
