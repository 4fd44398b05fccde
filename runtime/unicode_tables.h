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

}  // namespace ingot::runtime::unicode
