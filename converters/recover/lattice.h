// One block of values and the grid that it may lie on. Internal to recover*.cpp. Implements spec/recovery.md sections 2
// and 3.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "format/tensor/scheme.h"

namespace ingot::convert::recovering {

/// The numbers of a float type of 16 or 32 bits.
class Precision {
 public:
  explicit Precision(tensor::DType type) noexcept;
  /// To binary32, then to the type.
  [[nodiscard]] double round(double value) const noexcept;
  /// Distance to the next number beyond `value`.
  [[nodiscard]] double gap(double value) const noexcept;
  [[nodiscard]] tensor::DType type() const noexcept { return type_; }

 private:
  tensor::DType type_;
  int mantissa_bits_, least_exponent_;
};

/// The different values of one block.
class BlockValues {
 public:
  static constexpr std::size_t kMost = 256;  // different values that codes of 8 bits can tell apart

  /// greatest / least magnitude beyond `widest`: no such grid. 0: any.
  explicit BlockValues(double widest) : widest_(widest) {}
  void clear() noexcept;
  /// False, and to be cleared, once no grid can hold the values: one is not finite, there are too many, or too far
  /// apart.
  [[nodiscard]] bool add(const float* values, std::uint64_t count);

  /// Without zero, ascending by magnitude.
  [[nodiscard]] const std::vector<float>& distinct() const noexcept { return distinct_; }
  [[nodiscard]] bool has_zero() const noexcept { return has_zero_; }
  [[nodiscard]] std::uint64_t nonzero() const noexcept { return nonzero_; }  // elements

 private:
  double widest_;
  std::vector<float> distinct_;
  std::vector<std::uint32_t> keys_, merged_;
  bool has_zero_ = false;
  std::uint64_t nonzero_ = 0;
  float least_ = 0, greatest_ = 0;  // magnitudes, without zero
};

/// The parameters of a block: value = scale * number + offset.
struct Fit {
  double scale = 1, offset = 0;
  int least = 0, greatest = 0;  // integers: of the numbers, with zero
  bool exact = true;            // the values themselves; else those rounded to their type
  double evidence = 0;          // bits that the values would have to match by accident
};

enum class LatticeKind : std::uint8_t { integers, biased, table };

/// A family of grids. Regular struct.
struct Lattice {
  LatticeKind kind = LatticeKind::integers;
  tensor::DType source = tensor::DType::f32;      // of the values
  tensor::DType scale_type = tensor::DType::f16;  // and of the offset
  struct Entry {
    double number;
    std::uint8_t code;
  };
  std::vector<Entry> entries;  // table: ascending, finite, different numbers
  bool anchored = false;       // table: the largest magnitude of a block is an entry of the largest magnitude

  [[nodiscard]] double widest() const noexcept;  // for BlockValues
  /// False: the block lies on none of these grids.
  [[nodiscard]] bool fit(const BlockValues& values, Fit& fit) const;
  /// The number (integers, biased) or the code (table) of a value of a block that fits.
  [[nodiscard]] int number_of(float value, const Fit& fit) const noexcept;
};

}  // namespace ingot::convert::recovering
