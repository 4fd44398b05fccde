// Where a run of text may be cut before it is encoded, because no token reaches across the cut: in front of U+2581, the
// mark of a word's beginning. Character models see a whole text as one word; pieces of it are faster and come again.
#pragma once

#include <string_view>
#include <unordered_set>

#include "format/tensor/tokenizer_spec.h"

namespace ingot::runtime {

class WordCuts {
 public:
  explicit WordCuts(const tensor::TokenizerSpec& spec);
  /// Bytes up to the first cut in `text` (valid UTF-8, not empty), or all of it.
  [[nodiscard]] std::size_t first_piece(std::string_view text) const noexcept;

 private:
  bool may_cut_ = false;
  std::unordered_set<char32_t> before_mark_;  // characters that stand in front of the mark inside some token
};

}  // namespace ingot::runtime
