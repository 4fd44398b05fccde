// Encoding of values as GGUF types, one row per type.
#include "converters/gguf_encode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/tensor/bulk.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kQ8Elems = 32, kQ8Bytes = 34;

void encode_f32(const float* values, std::uint64_t count, std::byte* out) noexcept {
  std::memcpy(out, values, count * sizeof(float));
}
void decode_f32(const std::byte* in, std::uint64_t count, float* values) noexcept {
  std::memcpy(values, in, count * sizeof(float));
}

// The bulk conversions need aligned 16-bit elements, files promise nothing: through a buffer in between.
constexpr std::uint64_t kHalvesAtOnce = 1024;

template <void (*convert)(const float*, std::uint16_t*, std::uint64_t) noexcept>
void encode_halves(const float* values, std::uint64_t count, std::byte* out) noexcept {
  std::uint16_t halves[kHalvesAtOnce];
  for (std::uint64_t i = 0; i < count; i += kHalvesAtOnce) {
    const std::uint64_t some = std::min(kHalvesAtOnce, count - i);
    convert(values + i, halves, some);
    std::memcpy(out + 2 * i, halves, 2 * some);
  }
}
template <void (*convert)(const std::uint16_t*, float*, std::uint64_t) noexcept>
void decode_halves(const std::byte* in, std::uint64_t count, float* values) noexcept {
  std::uint16_t halves[kHalvesAtOnce];
  for (std::uint64_t i = 0; i < count; i += kHalvesAtOnce) {
    const std::uint64_t some = std::min(kHalvesAtOnce, count - i);
    std::memcpy(halves, in + 2 * i, 2 * some);
    convert(halves, values + i, some);
  }
}

bool all_fit_f32(const float*, std::uint64_t) noexcept { return true; }
bool all_fit_f16(const float* values, std::uint64_t count) noexcept {
  return tensor::bulk().all_fit_f16(values, count);
}
bool all_fit_bf16(const float* values, std::uint64_t count) noexcept {
  return tensor::bulk().all_fit_bf16(values, count);
}

// The quantizer of ggml's reference, bit for bit the same blocks: scale = largest / 127, codes = roundf(value / scale).

/// Any values; a scale below 2^-128 has an infinite inverse (and is stored as zero).
void encode_special_block(const float* values, std::byte* block) noexcept {
  float largest = 0;
  for (std::size_t i = 0; i < kQ8Elems; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float scale = largest / 127.0f;
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  store_le(block, tensor::f32_to_f16(scale));
  for (std::size_t i = 0; i < kQ8Elems; ++i) {
    const float scaled = std::clamp(values[i] * inverse, -127.5f, 127.49f);
    block[2 + i] = static_cast<std::byte>(static_cast<int>(std::roundf(scaled == scaled ? scaled : 0.0f)));
  }
}

/// No comparisons of floats in the loops, so that compilers vectorize them.
void encode_q8_0(const float* values, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count / kQ8Elems; ++b, values += kQ8Elems, block += kQ8Bytes) {
    std::int32_t largest_bits = 0;
    for (std::size_t i = 0; i < kQ8Elems; ++i)
      largest_bits = std::max(largest_bits, std::bit_cast<std::int32_t>(values[i]) & 0x7FFFFFFF);
    const float scale = std::bit_cast<float>(largest_bits) / 127.0f;
    const float inverse = 1.0f / scale;
    if (!std::isfinite(scale) || !std::isfinite(inverse)) {
      encode_special_block(values, block);
      continue;
    }
    store_le(block, tensor::f32_to_f16(scale));
    std::int8_t codes[kQ8Elems];
    for (std::size_t i = 0; i < kQ8Elems; ++i) {
      const float scaled = values[i] * inverse;  // at most 127 apart from the last bits
      const auto whole = static_cast<std::int32_t>(scaled);
      const float rest = scaled - static_cast<float>(whole);                                // exact
      codes[i] = static_cast<std::int8_t>(whole + static_cast<std::int32_t>(rest + rest));  // halves away from zero
    }
    std::memcpy(block + 2, codes, kQ8Elems);
  }
}

void decode_q8_0(const std::byte* block, std::uint64_t count, float* values) noexcept {
  for (std::uint64_t b = 0; b < count / kQ8Elems; ++b, values += kQ8Elems, block += kQ8Bytes) {
    const float scale = tensor::f16_to_f32(load_le<std::uint16_t>(block));
    for (std::size_t i = 0; i < kQ8Elems; ++i)
      values[i] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
  }
}

constexpr auto kEncoders = std::to_array<Encoder>({
    {"f32", "F32", encode_f32, decode_f32, all_fit_f32, true},
    {"f16", "F16", encode_halves<tensor::f32_to_f16>, decode_halves<tensor::f16_to_f32>, all_fit_f16, true},
    {"bf16", "BF16", encode_halves<tensor::f32_to_bf16>, decode_halves<tensor::bf16_to_f32>, all_fit_bf16, true},
    {"q8_0", "Q8_0", encode_q8_0, decode_q8_0, nullptr, false},
});

}  // namespace

std::span<const Encoder> encoders() noexcept { return kEncoders; }

const Encoder* find_encoder(std::string_view type_name) noexcept {
  for (const Encoder& row : kEncoders)
    if (row.type == type_name) return &row;
  return nullptr;
}

}  // namespace ingot::convert::gguf
