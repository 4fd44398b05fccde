// The generated tables behind unicode.cpp (make_unicode_tables.py). Included by nobody else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ingot::runtime::unicode {

extern const std::uint32_t kCategoryRanges[];
extern const std::size_t kCategoryRangeCount;
extern const std::uint32_t kCombiningRanges[];
extern const std::size_t kCombiningRangeCount;

/// Canonical decomposition of `code` into first and second (0: a singleton); `composes`: NFC puts the pair together
/// again.
struct Decomposition {
  std::uint32_t code, first, second, composes;
};
extern const Decomposition kDecompositions[];  // ascending code
extern const std::size_t kDecompositionCount;

/// Every `stride`-th code point from `first` to `last` changes its case by adding `delta`.
struct CaseRange {
  std::uint32_t first, last, stride;
  std::int32_t delta;
};
/// A character whose other case is several; 0 where there is none.
struct CaseExpansion {
  std::uint32_t code, parts[3];
};
struct CaseTable {
  const CaseRange* ranges;  // ascending, not overlapping
  std::size_t range_count;
  const CaseExpansion* expansions;  // ascending
  std::size_t expansion_count;
};
extern const CaseTable kUpperCase, kLowerCase;

}  // namespace ingot::runtime::unicode
