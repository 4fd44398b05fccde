#include "tensor_oracle.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace ingot::test {
namespace {

using tensor::CodeKind;
using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Packing;

// --- Exact numbers: sign, big magnitude, power of two ----------------------------------------------------------------

/// magnitude * 2^exponent; the magnitude as base 2^32 digits, lowest first.
struct Exact {
  bool negative = false;
  std::vector<std::uint32_t> digits;
  int exponent = 0;
};

void trim(std::vector<std::uint32_t>& digits) {
  while (!digits.empty() && digits.back() == 0) digits.pop_back();
}

Exact from_double(double value) {
  int exponent = 0;
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(std::frexp(std::fabs(value), &exponent), 53));
  Exact exact{std::signbit(value),
              {static_cast<std::uint32_t>(mantissa), static_cast<std::uint32_t>(mantissa >> 32)},
              exponent - 53};
  trim(exact.digits);
  return exact;
}

Exact multiply(const Exact& a, const Exact& b) {
  Exact product{a.negative != b.negative, std::vector<std::uint32_t>(a.digits.size() + b.digits.size()),
                a.exponent + b.exponent};
  for (std::size_t i = 0; i < a.digits.size(); ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < b.digits.size(); ++j) {
      carry += std::uint64_t{a.digits[i]} * b.digits[j] + product.digits[i + j];
      product.digits[i + j] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    product.digits[i + b.digits.size()] += static_cast<std::uint32_t>(carry);
  }
  trim(product.digits);
  return product;
}

std::vector<std::uint32_t> shifted_left(const std::vector<std::uint32_t>& digits, unsigned count) {
  std::vector<std::uint32_t> result(count / 32, 0);
  std::uint64_t carry = 0;
  for (const std::uint32_t digit : digits) {
    carry |= std::uint64_t{digit} << count % 32;
    result.push_back(static_cast<std::uint32_t>(carry));
    carry >>= 32;
  }
  result.push_back(static_cast<std::uint32_t>(carry));
  trim(result);
  return result;
}

int compare(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  for (std::size_t i = a.size(); i-- > 0;) {
    if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
  }
  return 0;
}

Exact add(Exact a, Exact b) {
  const int exponent = std::min(a.exponent, b.exponent);
  a.digits = shifted_left(a.digits, static_cast<unsigned>(a.exponent - exponent));
  b.digits = shifted_left(b.digits, static_cast<unsigned>(b.exponent - exponent));
  if (compare(a.digits, b.digits) < 0) std::swap(a, b);
  const bool subtract = a.negative != b.negative;
  std::int64_t carry = 0;
  for (std::size_t i = 0; i < a.digits.size(); ++i) {
    const std::int64_t other = i < b.digits.size() ? b.digits[i] : 0;
    carry += std::int64_t{a.digits[i]} + (subtract ? -other : other);
    a.digits[i] = static_cast<std::uint32_t>(carry);
    carry >>= 32;
  }
  if (carry > 0) a.digits.push_back(static_cast<std::uint32_t>(carry));
  a.exponent = exponent;
  trim(a.digits);
  return a;
}

Exact negated(Exact a) {
  a.negative = !a.negative;
  return a;
}

long double approximately(const Exact& value) {
  long double approximate = 0;
  const std::size_t top = value.digits.size() - 1;
  for (std::size_t i = 0; i < 3 && i <= top; ++i) approximate = approximate * 0x1p32L + value.digits[top - i];
  return std::ldexp(approximate, value.exponent + 32 * static_cast<int>(top - std::min<std::size_t>(top, 2)));
}

/// The binary32 number nearest to value / divisor by comparing exact distances (times the divisor); ties to the even
/// mantissa, and to infinity at the end of the range.
float nearest(const Exact& value, const Exact& divisor) {
  if (value.digits.empty()) return 0;
  const long double approximate = approximately(value) / approximately(divisor);
  constexpr float kMax = std::numeric_limits<float>::max();
  const float magnitude = approximate > kMax ? kMax : static_cast<float>(approximate);
  Exact best_distance;
  double best = -1;
  for (const double candidate : {static_cast<double>(std::nextafter(magnitude, 0.0f)), static_cast<double>(magnitude),
                                 magnitude == kMax ? 0x1p128 : static_cast<double>(std::nextafter(magnitude, kMax))}) {
    const Exact product = multiply(from_double(candidate), {false, divisor.digits, divisor.exponent});
    Exact distance = add({false, value.digits, value.exponent}, negated(product));
    distance.negative = false;
    // Both distances at one exponent.
    const int exponent = std::min(distance.exponent, best_distance.exponent);
    const auto a = shifted_left(distance.digits, static_cast<unsigned>(distance.exponent - exponent));
    const auto b = shifted_left(best_distance.digits, static_cast<unsigned>(best_distance.exponent - exponent));
    const int order = best < 0 ? -1 : compare(a, b);
    const bool even = candidate == 0x1p128 || (std::bit_cast<std::uint32_t>(static_cast<float>(candidate)) & 1u) == 0;
    if (order < 0 || (order == 0 && even)) {
      best = candidate;
      best_distance = distance;
    }
  }
  const float result = best == 0x1p128 ? std::numeric_limits<float>::infinity() : static_cast<float>(best);
  return value.negative != divisor.negative ? -result : result;
}
float nearest(const Exact& value) { return nearest(value, from_double(1)); }

// --- Element types, straight from the table in spec/schemes/README.md section 3 --------------------------------------

double ieee_like(std::uint64_t bits, int exponent_bits, int mantissa_bits, int bias, bool has_specials) {
  const auto mantissa = static_cast<double>(bits & ((1ull << mantissa_bits) - 1));
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1ull << exponent_bits) - 1));
  const double sign = (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -1 : 1;
  if (has_specials && exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + std::ldexp(1.0, mantissa_bits), exponent - bias - mantissa_bits);
}

double number(DType type, std::uint64_t bits) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  switch (type) {
    case DType::f32: return ieee_like(bits, 8, 23, 127, true);
    case DType::f16: return ieee_like(bits, 5, 10, 15, true);
    case DType::bf16: return ieee_like(bits, 8, 7, 127, true);
    case DType::e4m3: return (bits & 127) == 127 ? nan : ieee_like(bits, 4, 3, 7, false);
    case DType::e5m2: return ieee_like(bits, 5, 2, 15, true);
    case DType::e4m3fnuz: return bits == 128 ? nan : ieee_like(bits, 4, 3, 8, false);
    case DType::e5m2fnuz: return bits == 128 ? nan : ieee_like(bits, 5, 2, 16, false);
    case DType::e3m2: return ieee_like(bits, 3, 2, 3, false);
    case DType::e2m3: return ieee_like(bits, 2, 3, 1, false);
    case DType::e2m1: return ieee_like(bits, 2, 1, 1, false);
    case DType::e8m0: return bits == 255 ? nan : std::ldexp(1.0, static_cast<int>(bits) - 127);
    case DType::i8: return static_cast<std::int8_t>(bits);
    case DType::i16: return static_cast<std::int16_t>(bits);
    case DType::i32: return static_cast<std::int32_t>(bits);
    default: return static_cast<double>(bits);
  }
}

double table_entry(const std::string& name, std::uint64_t code) {
  static const std::uint32_t nf4[] = {0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f,
                                      0xbdba7871, 0x00000000, 0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a,
                                      0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000};
  static const std::uint32_t fp4[] = {0x00000000, 0x3baaaaab, 0x3f2aaaab, 0x3f800000,
                                      0x3eaaaaab, 0x3f000000, 0x3e2aaaab, 0x3e800000};
  static const double iq4nl[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  if (name == "nf4") return std::bit_cast<float>(nf4[code]);
  if (name == "fp4") return (code < 8 ? 1 : -1) * static_cast<double>(std::bit_cast<float>(fp4[code % 8]));
  if (name == "iq4nl") return iq4nl[code];
  return code == 0 ? -1 : 1;  // binary
}

// --- Bits ------------------------------------------------------------------------------------------------------------

/// A dense stream of elements, element 0 in the lowest bits of byte 0.
class BitStream {
 public:
  void put(std::uint64_t value, unsigned bits) {
    for (unsigned i = 0; i < bits; ++i, ++size_) {
      if (size_ % 8 == 0) bytes_.push_back(std::byte{0});
      if ((value >> i & 1) != 0) bytes_.back() |= std::byte{1} << size_ % 8;
    }
  }
  void append_to(std::vector<std::byte>& plane) const { plane.insert(plane.end(), bytes_.begin(), bytes_.end()); }

 private:
  std::vector<std::byte> bytes_;
  std::uint64_t size_ = 0;
};

void append_word(std::vector<std::byte>& plane, std::uint32_t word) {
  for (int i = 0; i < 4; ++i) plane.push_back(static_cast<std::byte>(word >> 8 * i));
}

std::uint64_t code_at(const PlainTensor& plain, std::uint64_t matrix, std::uint64_t row, std::uint64_t col) {
  return row < plain.rows && col < plain.cols ? plain.codes[(matrix * plain.rows + row) * plain.cols + col] : 0;
}

/// spec/planes.md section 4.1: the low slice of a tile.
void append_low_slice(std::vector<std::byte>& plane, const PlainTensor& plain, std::uint64_t matrix, std::uint64_t tile,
                      unsigned low_bits) {
  const std::uint64_t words = (plain.cols * low_bits + 31) / 32;
  for (std::uint64_t word = 0; word < words; ++word) {
    for (std::uint64_t row = 16 * tile; row < 16 * tile + 16; ++row) {
      std::uint32_t bits = 0;
      for (unsigned bit = 0; bit < 32; ++bit) {
        const std::uint64_t position = 32 * word + bit;
        const std::uint64_t code = code_at(plain, matrix, row, position / low_bits);
        bits |= static_cast<std::uint32_t>(code >> position % low_bits & 1) << bit;
      }
      append_word(plane, bits);
    }
  }
}

/// Section 4.3: p bits above `below` bits, `low_bits` in the low slice.
void append_high_slice(std::vector<std::byte>& plane, const PlainTensor& plain, std::uint64_t matrix,
                       std::uint64_t tile, unsigned p, unsigned below, unsigned low_bits) {
  const std::uint64_t run = 32 / p;
  const unsigned big_f = 8 / low_bits;
  for (std::uint64_t first = 0; first < plain.cols; first += run) {
    for (std::uint64_t row = 16 * tile; row < 16 * tile + 16; ++row) {
      std::uint32_t bits = 0;
      for (unsigned b = 0; b < 4; ++b) {
        for (unsigned f = 0; f < 8 / p; ++f) {
          const unsigned input = 4 * big_f * (f / big_f) + big_f * b + f % big_f;
          const std::uint64_t code = code_at(plain, matrix, row, first + input);
          bits |= static_cast<std::uint32_t>(code >> below & ((1u << p) - 1)) << (8 * b + p * f);
        }
      }
      append_word(plane, bits);
    }
  }
}

void append_codes(std::vector<std::vector<std::byte>>& planes, const PlainTensor& plain) {
  const unsigned bits = tensor::bits(plain.scheme.codes.type);
  if (plain.packing == Packing::rows) {
    std::vector<std::byte> plane;
    for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row) {
      BitStream stream;
      for (std::uint64_t col = 0; col < plain.cols; ++col) stream.put(plain.codes[row * plain.cols + col], bits);
      stream.append_to(plane);
    }
    planes.push_back(std::move(plane));
    return;
  }
  std::vector<unsigned> slices{bits};
  if (bits == 3) slices = {2, 1};
  if (bits == 5) slices = {4, 1};
  if (bits == 6) slices = {4, 2};
  if (bits == 7) slices = {4, 2, 1};
  unsigned below = 0;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    std::vector<std::byte> plane;
    for (std::uint64_t matrix = 0; matrix < plain.matrices; ++matrix) {
      for (std::uint64_t tile = 0; 16 * tile < plain.rows; ++tile) {
        if (i == 0) {
          // The stream of the low slice holds the low bits of every code.
          PlainTensor low = plain;
          for (std::uint64_t& code : low.codes) code &= (1u << slices[0]) - 1;
          append_low_slice(plane, low, matrix, tile, slices[0]);
        } else {
          append_high_slice(plane, plain, matrix, tile, slices[i], below, slices[0]);
        }
      }
    }
    planes.push_back(std::move(plane));
    below += slices[i];
  }
}

double rounded_to_binary32(double value) {
  return std::isfinite(value) && value != 0 ? nearest(from_double(value)) : value;
}

/// One IEEE operation on binary32 numbers. Signs, zeros, infinities and NaN are those of binary64, the rest is exact
/// and rounded once.
double binary32(double a, char operation, double b) {
  const double ieee = operation == '*' ? a * b : operation == '/' ? a / b : a + b;
  if (!std::isfinite(a) || !std::isfinite(b) || (operation != '+' && (a == 0 || b == 0))) return ieee;
  if (operation == '+') return nearest(add(from_double(a), from_double(b)));
  const float result =
      operation == '*' ? nearest(multiply(from_double(a), from_double(b))) : nearest(from_double(a), from_double(b));
  return std::copysign(static_cast<double>(result), ieee);
}

std::vector<Level> all_levels(const tensor::Scheme& scheme) {
  std::vector<Level> levels = scheme.scales;
  levels.insert(levels.end(), scheme.offset.levels.begin(), scheme.offset.levels.end());
  return levels;
}

std::uint64_t level_rows(const PlainTensor& plain, const Level& level) {
  return level.block.rows == 0 ? 1 : (plain.rows + level.block.rows - 1) / level.block.rows;
}
std::uint64_t level_cols(const PlainTensor& plain, const Level& level) {
  return level.block.cols == 0 ? 1 : (plain.cols + level.block.cols - 1) / level.block.cols;
}

/// Section 3 and 4.2.
std::vector<std::byte> level_plane(const PlainTensor& plain, const Level& level,
                                   const std::vector<std::uint64_t>& elements) {
  const unsigned bits = tensor::bits(level.type);
  const std::uint64_t cols = level_cols(plain, level);
  std::vector<std::byte> plane;
  if (level.block.rows != 1) {
    BitStream stream;
    for (const std::uint64_t element : elements) stream.put(element, bits);
    stream.append_to(plane);
  } else if (plain.packing == Packing::rows) {
    for (std::uint64_t row = 0; row < plain.matrices * plain.rows; ++row) {
      BitStream stream;
      for (std::uint64_t col = 0; col < cols; ++col) stream.put(elements[row * cols + col], bits);
      stream.append_to(plane);
    }
  } else {
    for (std::uint64_t matrix = 0; matrix < plain.matrices; ++matrix) {
      for (std::uint64_t tile = 0; 16 * tile < plain.rows; ++tile) {
        BitStream stream;
        for (std::uint64_t col = 0; col < cols; ++col) {
          for (std::uint64_t row = 16 * tile; row < 16 * tile + 16; ++row) {
            stream.put(row < plain.rows ? elements[(matrix * plain.rows + row) * cols + col] : 0, bits);
          }
        }
        stream.append_to(plane);
      }
    }
  }
  return plane;
}

template <class T>
std::vector<std::byte> plane_of(const std::vector<T>& values) {
  std::vector<std::byte> plane(values.size() * sizeof(T));
  if (!plane.empty()) std::memcpy(plane.data(), values.data(), plane.size());
  return plane;
}

std::uint64_t random_element(DType type, bool tame, std::mt19937_64& random) {
  const std::uint64_t bits = random() & (tensor::bits(type) == 64 ? ~0ull : (1ull << tensor::bits(type)) - 1);
  if (!tensor::info(type).is_float) return bits;
  const double sign = random() % 2 == 0 ? 1 : -1;
  if (tame && type == DType::f32)
    return std::bit_cast<std::uint32_t>(static_cast<float>(
        sign * std::ldexp(1.0 + static_cast<double>(random() % 1000000) / 1e6, static_cast<int>(random() % 8) - 4)));
  if (tame && type == DType::bf16) return (bits & 0x807F) | (120 + random() % 10) << 7;
  if (tame && type == DType::f16) return (bits & 0x83FF) | (8 + random() % 10) << 10;
  if (tame && type == DType::e8m0) return 120 + random() % 10;
  if (random() % 8 == 0) {  // the corners of the format
    const std::uint64_t sign_bit = 1ull << (tensor::bits(type) - 1);
    const std::uint64_t corners[] = {0,          sign_bit,   1,      sign_bit | 1, sign_bit - 1, sign_bit - 2,
                                     0x7F800000, 0x7F7FFFFF, 0x7C00, 0x7BFF,       0x7F80,       0x00800000};
    return corners[random() % std::size(corners)] & (sign_bit * 2 - 1);
  }
  return bits;
}

}  // namespace

std::uint32_t canonical(float value) noexcept {
  if (std::isnan(value)) return 0x7FC00000;
  return value == 0 ? 0 : std::bit_cast<std::uint32_t>(value);
}

PlainTensor random_tensor(const tensor::Shape& shape, const tensor::Scheme& scheme, Packing packing, bool tame,
                          std::mt19937_64& random) {
  PlainTensor plain{shape, scheme, packing};
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : shape) elements *= extent;
  if (scheme.flat != 0) {
    plain.cols = scheme.flat;
    plain.rows = (elements + scheme.flat - 1) / scheme.flat;
  } else {
    plain.cols = shape.empty() ? 1 : shape.back();
    plain.rows = shape.size() < 2 ? 1 : shape[shape.size() - 2];
    plain.matrices = plain.cols == 0 || plain.rows == 0 ? 1 : elements / plain.cols / plain.rows;
  }
  for (std::uint64_t i = 0; i < plain.matrices * plain.rows * plain.cols; ++i) {
    plain.codes.push_back(scheme.flat != 0 && i >= elements ? 0 : random_element(scheme.codes.type, tame, random));
  }
  for (const Level& level : all_levels(scheme)) {
    plain.levels.emplace_back();
    for (std::uint64_t i = 0; i < plain.matrices * level_rows(plain, level) * level_cols(plain, level); ++i) {
      plain.levels.back().push_back(random_element(level.type, tame, random));
    }
  }
  const auto random_float = [&] { return static_cast<float>(static_cast<double>(random() % 2000001) / 1e6 - 1); };
  if (scheme.codes.table == "custom") {
    for (std::size_t i = 0; i < std::size_t{1} << tensor::bits(scheme.codes.type); ++i)
      plain.table.push_back(random_float());
  }
  for (const Level& level : scheme.scales) {
    for (std::size_t i = 0; level.custom_table && i < std::size_t{1} << tensor::bits(level.type); ++i)
      plain.scale_table.push_back(random_float());
  }
  plain.scale_offset = scheme.scale_offset ? random_float() : 0;
  plain.order.resize(scheme.order == tensor::Order::identity ? 0 : plain.cols);
  std::iota(plain.order.begin(), plain.order.end(), 0u);
  std::shuffle(plain.order.begin(), plain.order.end(), random);
  if (scheme.order == tensor::Order::group_index) {
    std::uint64_t groups = plain.cols;
    for (const Level& level : all_levels(scheme))
      groups = level.block.cols == 0 ? groups : std::min(groups, level_cols(plain, level));
    for (std::uint32_t& group : plain.order) group = static_cast<std::uint32_t>(random() % groups);
  }
  return plain;
}

std::vector<std::vector<std::byte>> naive_planes(const PlainTensor& plain) {
  std::vector<std::vector<std::byte>> planes;
  append_codes(planes, plain);
  const std::vector<Level> levels = all_levels(plain.scheme);
  for (std::size_t i = 0; i < levels.size(); ++i) planes.push_back(level_plane(plain, levels[i], plain.levels[i]));
  if (!plain.table.empty()) planes.push_back(plane_of(plain.table));
  if (!plain.scale_table.empty()) planes.push_back(plane_of(plain.scale_table));
  if (plain.scheme.scale_offset) planes.push_back(plane_of(std::vector<float>{plain.scale_offset}));
  if (!plain.order.empty()) planes.push_back(plane_of(plain.order));
  return planes;
}

tensor::Tensor as_tensor(const PlainTensor& plain) {
  tensor::Tensor result;
  result.name = "tensor";
  result.shape = plain.shape;
  result.scheme = plain.scheme;
  result.packing = plain.packing;
  result.planes = tensor::planes_in_memory(naive_planes(plain), plain.shape, plain.scheme, plain.packing);
  return result;
}

float exact_value(const PlainTensor& plain, std::uint64_t row, std::uint64_t col) {
  const tensor::Scheme& scheme = plain.scheme;
  std::uint64_t stored_col = col;
  if (scheme.order == tensor::Order::permutation) {
    stored_col =
        static_cast<std::uint64_t>(std::find(plain.order.begin(), plain.order.end(), col) - plain.order.begin());
  }
  const std::vector<Level> levels = all_levels(scheme);
  const auto level_number = [&](std::size_t i) {
    const Level& level = levels[i];
    const std::uint64_t matrix = row / plain.rows;
    const std::uint64_t parameter_row = level.block.rows == 0 ? 0 : row % plain.rows / level.block.rows;
    std::uint64_t parameter_col = level.block.cols == 0 ? 0 : stored_col / level.block.cols;
    if (scheme.order == tensor::Order::group_index && level.block.cols != 0) parameter_col = plain.order[col];
    const std::uint64_t bits =
        plain.levels[i][(matrix * level_rows(plain, level) + parameter_row) * level_cols(plain, level) + parameter_col];
    if (level.custom_table) return static_cast<double>(plain.scale_table[bits]);
    const double stored = number(level.type, bits);
    return tensor::info(level.type).is_float ? stored : level.multiply * stored + level.add;
  };
  const std::uint64_t bits = plain.codes[row * plain.cols + stored_col];
  double code = number(scheme.codes.type, bits);
  if (scheme.codes.kind == CodeKind::table)
    code = plain.table.empty() ? table_entry(scheme.codes.table, bits) : plain.table[bits];

  std::vector<double> scales;
  for (std::size_t i = 0; i < scheme.scales.size(); ++i) scales.push_back(level_number(i));
  if (scheme.rounded_scale) {
    double rounded = 1;
    for (std::size_t i = 0; i < scales.size(); ++i)
      rounded = binary32(rounded, scheme.scales[i].divide ? '/' : '*', rounded_to_binary32(scales[i]));
    if (scheme.scale_offset) rounded = binary32(rounded, '+', plain.scale_offset);
    scales = {rounded};
  }
  const std::size_t offset_level = scheme.scales.size();
  const double zero = scheme.offset.kind == OffsetKind::zero_points ? level_number(offset_level) : scheme.offset.zero;
  std::vector<double> offset;  // factors of what is added at the end
  if (scheme.offset.kind == OffsetKind::bias) offset = {level_number(offset_level)};
  if (scheme.offset.kind == OffsetKind::minimum) {
    offset = {-1};
    for (std::size_t i = offset_level; i < levels.size(); ++i) offset.push_back(level_number(i));
  }

  if (scheme.rounded_steps) {
    double value = binary32(rounded_to_binary32(code), '+', -rounded_to_binary32(zero));
    for (const double scale : scales) value = binary32(value, '*', rounded_to_binary32(scale));
    if (offset.empty()) return static_cast<float>(value);
    double addend = rounded_to_binary32(offset[0]);
    for (std::size_t i = 1; i < offset.size(); ++i) addend = binary32(addend, '*', rounded_to_binary32(offset[i]));
    return static_cast<float>(binary32(value, '+', addend));
  }

  const auto sign_only = [](double x) { return std::isfinite(x) && x != 0 ? std::copysign(1.0, x) : x; };
  bool finite = std::isfinite(code) && std::isfinite(zero);
  double special = sign_only(code - zero);
  for (const double scale : scales) finite = finite && std::isfinite(scale), special *= sign_only(scale);
  bool offset_finite = true;
  double special_offset = offset.empty() ? 0 : 1;
  for (const double factor : offset)
    offset_finite = offset_finite && std::isfinite(factor), special_offset *= sign_only(factor);
  if (!finite || !offset_finite)
    return static_cast<float>((finite ? 0 : special) + (offset_finite ? 0 : special_offset));

  Exact sum = add(from_double(code), negated(from_double(zero)));
  for (const double scale : scales) sum = multiply(sum, from_double(scale));
  sum.exponent += scheme.shift;
  if (!offset.empty()) {
    Exact product = from_double(1);
    for (const double factor : offset) product = multiply(product, from_double(factor));
    sum = add(sum, product);
  }
  return nearest(sum);
}

}  // namespace ingot::test
