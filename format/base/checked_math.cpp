#include "format/base/checked_math.h"

#include <string>

namespace ingot {
namespace {

[[noreturn]] void overflow(std::uint64_t a, char operation, std::uint64_t b, std::string_view what) {
  throw Error(ErrorKind::limit_exceeded, std::string(what) + ": " + std::to_string(a) + " " + operation + " " +
                                             std::to_string(b) + " does not fit in 64 bits");
}

}  // namespace

std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) overflow(a, '+', b, what);
  return sum;
}

std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, std::string_view what) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) overflow(a, '*', b, what);
  return product;
}

std::uint64_t checked_product(std::span<const std::uint64_t> extents, std::string_view what) {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : extents) product = checked_mul(product, extent, what);
  return product;
}

}  // namespace ingot
