// Encoding of values as GGUF types, one row per type.
#include "converters/gguf/encode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "converters/gguf/blocks.h"
#include "converters/gguf/loops.h"
#include "format/base/byte_reader.h"
#include "format/tensor/bulk.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert::gguf {
namespace {

constexpr std::uint64_t kBlockElems = 32, kQ8Bytes = 34;

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

template <EncodeLoop BlockLoops::*loop>
void encode_blocks(const float* values, std::uint64_t count, std::byte* out) noexcept {
  (block_loops().*loop)(values, count / kBlockElems, out);
}

void decode_q8_0(const std::byte* block, std::uint64_t count, float* values) noexcept {
  for (std::uint64_t b = 0; b < count / kBlockElems; ++b, values += kBlockElems, block += kQ8Bytes) {
    const float scale = tensor::f16_to_f32(load_le<std::uint16_t>(block));
    for (std::size_t i = 0; i < kBlockElems; ++i)
      values[i] = scale * static_cast<float>(static_cast<std::int8_t>(block[2 + i]));
  }
}

// Q4_0, Q4_1, Q5_0, Q5_1: codes and parameters by the type's own codec.

struct RoundedType {
  const BlockType* type;
  tensor::Scheme scheme;
};
RoundedType rounded_type(std::string_view name) { return {find_block_type(name), find_block_type(name)->scheme()}; }
enum Rounded : std::uint8_t { q4_0, q4_1, q5_0, q5_1 };
const RoundedType& rounded_type(Rounded which) noexcept {
  static const RoundedType kTypes[] = {rounded_type("Q4_0"), rounded_type("Q4_1"), rounded_type("Q5_0"),
                                       rounded_type("Q5_1")};
  return kTypes[which];
}

template <Rounded which>
void decode_rounded(const std::byte* in, std::uint64_t count, float* values) noexcept {
  const RoundedType& row = rounded_type(which);
  std::uint8_t codes[kBlockElems];
  std::byte scale_bytes[2], bias_bytes[2] = {};
  for (std::uint64_t b = 0; b < count / kBlockElems; ++b, values += kBlockElems, in += row.type->block_bytes) {
    row.type->codec->split(in, 1, {codes, {scale_bytes, bias_bytes}});
    const double scale = tensor::f16_to_f32(load_le<std::uint16_t>(scale_bytes));
    const double bias = tensor::f16_to_f32(load_le<std::uint16_t>(bias_bytes));
    for (std::uint64_t i = 0; i < kBlockElems; ++i)
      values[i] = static_cast<float>(scale * (codes[i] - row.scheme.offset.zero) + bias);  // exact before the cast
  }
}

// MXFP4: elements of e2m1, doubled, times half the scale.
constexpr float kDoubledE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
constexpr std::uint64_t kMxfp4Bytes = 17;

void encode_mxfp4(const float* values, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count / kBlockElems; ++b, values += kBlockElems, block += kMxfp4Bytes) {
    float largest = 0;
    for (std::uint64_t i = 0; i < kBlockElems; ++i) largest = std::max(largest, std::fabs(values[i]));
    const int exponent = largest > 0 ? std::max(static_cast<int>(std::floor(std::log2(largest))) - 2, -127) : -127;
    const float half_scale = std::ldexp(1.0f, exponent - 1);
    block[0] = static_cast<std::byte>(exponent + 127);
    std::uint8_t codes[kBlockElems];
    for (std::uint64_t i = 0; i < kBlockElems; ++i) {
      float least = std::fabs(half_scale * kDoubledE2m1[0] - values[i]);
      codes[i] = 0;
      for (std::uint8_t code = 1; code < 16; ++code) {
        const float error = std::fabs(half_scale * kDoubledE2m1[code] - values[i]);
        if (error < least) codes[i] = code;
        least = std::min(least, error);
      }
    }
    for (std::uint64_t i = 0; i < kBlockElems / 2; ++i)
      block[1 + i] = static_cast<std::byte>(codes[i] | codes[i + kBlockElems / 2] << 4);
  }
}
void decode_mxfp4(const std::byte* block, std::uint64_t count, float* values) noexcept {
  for (std::uint64_t b = 0; b < count / kBlockElems; ++b, values += kBlockElems, block += kMxfp4Bytes) {
    const float half_scale = std::ldexp(1.0f, std::to_integer<int>(block[0]) - 128);
    for (std::uint64_t i = 0; i < kBlockElems; ++i) {
      const int byte = std::to_integer<int>(block[1 + i % (kBlockElems / 2)]);
      values[i] = half_scale * kDoubledE2m1[i < kBlockElems / 2 ? byte & 15 : byte >> 4];
    }
  }
}

constexpr auto kEncoders = std::to_array<Encoder>({
    {"f32", "F32", encode_f32, decode_f32, all_fit_f32, true},
    {"f16", "F16", encode_halves<tensor::f32_to_f16>, decode_halves<tensor::f16_to_f32>, all_fit_f16, true},
    {"bf16", "BF16", encode_halves<tensor::f32_to_bf16>, decode_halves<tensor::bf16_to_f32>, all_fit_bf16, true},
    {"q8_0", "Q8_0", encode_blocks<&BlockLoops::encode_q8_0>, decode_q8_0, nullptr, false},
    {"q4_0", "Q4_0", encode_blocks<&BlockLoops::encode_q4_0>, decode_rounded<q4_0>, nullptr, false},
    {"q4_1", "Q4_1", encode_blocks<&BlockLoops::encode_q4_1>, decode_rounded<q4_1>, nullptr, false},
    {"q5_0", "Q5_0", encode_blocks<&BlockLoops::encode_q5_0>, decode_rounded<q5_0>, nullptr, false},
    {"q5_1", "Q5_1", encode_blocks<&BlockLoops::encode_q5_1>, decode_rounded<q5_1>, nullptr, false},
    {"mxfp4", "MXFP4", encode_mxfp4, decode_mxfp4, nullptr, false},
});

}  // namespace

std::span<const Encoder> encoders() noexcept { return kEncoders; }

const Encoder* find_encoder(std::string_view type_name) noexcept {
  for (const Encoder& row : kEncoders)
    if (row.type == type_name) return &row;
  return nullptr;
}

}  // namespace ingot::convert::gguf
