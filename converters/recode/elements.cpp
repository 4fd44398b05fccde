// Elements <-> numbers, by type.
#include "converters/recode/elements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/tensor/bulk.h"
#include "format/tensor/element_numbers.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::recoding {
namespace {

using tensor::DType;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kPiece = 256;  // numbers that are binary32 on the way

/// To the neighbour with an odd mantissa unless exact, so that a second rounding gives what one would have given.
float round_to_odd(double wanted) noexcept {
  const float nearest = static_cast<float>(wanted);
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (nearest == wanted || std::isnan(wanted) || std::isinf(nearest) || bits % 2 != 0) return nearest;
  return std::bit_cast<float>(std::fabs(nearest) < std::fabs(wanted) ? bits + 1 : bits - 1);
}

/// An infinity that was not asked for is no rounding.
double unless_overflow(float rounded, double wanted) noexcept {
  return std::isinf(rounded) && !std::isinf(wanted) ? kNan : rounded;
}

/// `convert`: a loop of tensor::BulkLoops.
template <class Convert>
void narrow(Convert convert, const double* numbers, std::uint64_t count, std::byte* elements) noexcept {
  float values[kPiece];
  std::uint16_t halves[kPiece];
  for (std::uint64_t begin = 0; begin < count; begin += kPiece) {
    const std::uint64_t piece = std::min(kPiece, count - begin);
    for (std::uint64_t i = 0; i < piece; ++i) values[i] = static_cast<float>(numbers[begin + i]);
    convert(values, halves, piece);
    std::memcpy(elements + 2 * begin, halves, 2 * piece);
  }
}

}  // namespace

void widen(DType type, Bytes bytes, std::vector<float>& numbers) {
  numbers.resize(bytes.size() * 8 / tensor::bits(type));
  const auto* halves = reinterpret_cast<const std::uint16_t*>(bytes.data());
  if (type == DType::f16) {
    tensor::f16_to_f32(halves, numbers.data(), numbers.size());
  } else if (type == DType::bf16) {
    tensor::bf16_to_f32(halves, numbers.data(), numbers.size());
  } else {
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
  }
}

ElementCodec::ElementCodec(const tensor::Level& level, std::span<const float> table)
    : type_(level.type), element_bytes_(ceil_div(tensor::bits(level.type), 8)) {
  const tensor::DTypeInfo& row = tensor::info(level.type);
  multiply_ = level.multiply;
  add_ = level.add;
  if (level.custom_table || (row.is_float && row.bits <= 8)) {
    form_ = Form::small;
    if (level.custom_table)
      numbers_.assign(table.begin(), table.end());
    else
      numbers_ = tensor::numbers_of_codes(level.type);
  } else if (row.is_float) {
    form_ = row.type == DType::f32 ? Form::f32 : row.type == DType::f16 ? Form::f16 : Form::bf16;
  } else {
    form_ = Form::integer;
    least_ = row.is_signed ? -std::ldexp(1.0, row.bits - 1) : 0;
    greatest_ = std::ldexp(1.0, row.is_signed ? row.bits - 1 : row.bits) - 1;
    if (row.bits <= 8) {
      numbers_ = tensor::numbers_of_codes(level.type);
      for (double& number : numbers_) number = multiply_ * number + add_;
    }
  }
  if (form_ != Form::small) return;
  sorted_codes_.resize(numbers_.size());
  std::iota(sorted_codes_.begin(), sorted_codes_.end(), std::uint8_t{0});
  for (std::size_t code = numbers_.size(); code-- > 0;)
    if (std::isnan(numbers_[code])) nan_code_ = static_cast<int>(code);
  std::erase_if(sorted_codes_, [&](std::uint8_t code) { return std::isnan(numbers_[code]); });
  std::stable_sort(sorted_codes_.begin(), sorted_codes_.end(),
                   [&](std::uint8_t a, std::uint8_t b) { return numbers_[a] < numbers_[b]; });
  for (const std::uint8_t code : sorted_codes_) sorted_.push_back(numbers_[code]);
}

void ElementCodec::decode(const std::byte* elements, std::uint64_t count, double* numbers) const noexcept {
  if (!numbers_.empty()) {
    for (std::uint64_t i = 0; i < count; ++i) numbers[i] = numbers_[std::to_integer<std::uint8_t>(elements[i])];
    return;
  }
  if (form_ == Form::f16 || form_ == Form::bf16) {
    float values[kPiece];
    for (std::uint64_t begin = 0; begin < count; begin += kPiece) {
      const std::uint64_t piece = std::min(kPiece, count - begin);
      tensor::wide_values(type_, elements + 2 * begin, piece, values);
      std::copy(values, values + piece, numbers + begin);
    }
    return;
  }
  tensor::wide_numbers(type_, elements, count, numbers);
  if (multiply_ == 1 && add_ == 0) return;
  for (std::uint64_t i = 0; i < count; ++i) numbers[i] = multiply_ * numbers[i] + add_;
}

const std::uint8_t* ElementCodec::small_code(double number) const noexcept {
  const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), number);
  if (at == sorted_.end() || *at != number) return nullptr;
  return &sorted_codes_[static_cast<std::size_t>(at - sorted_.begin())];
}

bool ElementCodec::all_fit(const double* wanted, std::uint64_t count) const noexcept {
  const tensor::BulkLoops& loops = tensor::bulk();
  float values[kPiece];
  for (std::uint64_t begin = 0; begin < count; begin += kPiece) {
    const std::uint64_t piece = std::min(kPiece, count - begin);
    bool same = true;
    for (std::uint64_t i = 0; i < piece; ++i) {
      values[i] = static_cast<float>(wanted[begin + i]);
      same &= same_number(values[i], wanted[begin + i]);
    }
    if (!same) return false;
    if (form_ == Form::f16 && !loops.all_fit_f16(values, piece)) return false;
    if (form_ == Form::bf16 && !loops.all_fit_bf16(values, piece)) return false;
  }
  return true;
}

double ElementCodec::round_one(double wanted) const noexcept {
  if (std::isnan(wanted)) return kNan;
  switch (form_) {
    case Form::f32: return unless_overflow(static_cast<float>(wanted), wanted);
    case Form::f16: return unless_overflow(tensor::f16_to_f32(tensor::f32_to_f16(round_to_odd(wanted))), wanted);
    case Form::bf16: return unless_overflow(tensor::bf16_to_f32(tensor::f32_to_bf16(round_to_odd(wanted))), wanted);
    case Form::integer: {
      const double element = std::nearbyint((wanted - add_) / multiply_);
      return element >= least_ && element <= greatest_ ? multiply_ * element + add_ : kNan;
    }
    case Form::small: break;
  }
  return small_code(wanted) != nullptr ? wanted : kNan;
}

bool ElementCodec::round(const double* wanted, std::uint64_t count, double* numbers) const noexcept {
  const bool has_nan = form_ != Form::integer && (form_ != Form::small || nan_code_ >= 0);
  bool exact = true;
  if (form_ == Form::f32 || form_ == Form::f16 || form_ == Form::bf16) {
    if (all_fit(wanted, count)) {
      std::copy(wanted, wanted + count, numbers);
      return true;
    }
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    numbers[i] = round_one(wanted[i]);
    exact = exact && same_number(numbers[i], wanted[i]) && (has_nan || wanted[i] == wanted[i]);
  }
  return exact;
}

void ElementCodec::encode(const double* numbers, std::uint64_t count, std::byte* elements) const noexcept {
  switch (form_) {
    case Form::f32:
      for (std::uint64_t i = 0; i < count; ++i) store_le(elements + 4 * i, static_cast<float>(numbers[i]));
      return;
    case Form::f16: return narrow(tensor::bulk().f32_to_f16, numbers, count, elements);
    case Form::bf16: return narrow(tensor::bulk().f32_to_bf16, numbers, count, elements);
    case Form::integer:
      for (std::uint64_t i = 0; i < count; ++i) {
        const double number = std::isnan(numbers[i]) ? add_ : numbers[i];
        const auto element = static_cast<std::int64_t>((number - add_) / multiply_);
        const auto bits = static_cast<std::uint64_t>(element) & ((std::uint64_t{1} << tensor::bits(type_)) - 1);
        std::memcpy(elements + i * element_bytes_, &bits, element_bytes_);
      }
      return;
    case Form::small:
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint8_t* code = std::isnan(numbers[i]) ? nullptr : small_code(numbers[i]);
        elements[i] = static_cast<std::byte>(code != nullptr ? *code : std::max(nan_code_, 0));
      }
      return;
  }
}

}  // namespace ingot::convert::recoding
