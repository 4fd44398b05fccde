// Encoding of values as GGUF types, one row per type.
#include "converters/gguf_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "format/base/byte_reader.h"
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

void encode_f16(const float* values, std::uint64_t count, std::byte* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) store_le(out + 2 * i, tensor::f32_to_f16(values[i]));
}
void decode_f16(const std::byte* in, std::uint64_t count, float* values) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) values[i] = tensor::f16_to_f32(load_le<std::uint16_t>(in + 2 * i));
}

void encode_bf16(const float* values, std::uint64_t count, std::byte* out) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) store_le(out + 2 * i, tensor::f32_to_bf16(values[i]));
}
void decode_bf16(const std::byte* in, std::uint64_t count, float* values) noexcept {
  for (std::uint64_t i = 0; i < count; ++i) values[i] = tensor::bf16_to_f32(load_le<std::uint16_t>(in + 2 * i));
}

/// roundf as integer: halves away from zero. |value| is at most 127 apart from the last bit.
int round_half_away(float value) noexcept {
  const int whole = static_cast<int>(value);
  const float rest = value - static_cast<float>(whole);  // exact
  return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/// The quantizer of ggml's reference: bit for bit the same blocks.
void encode_q8_0(const float* values, std::uint64_t count, std::byte* block) noexcept {
  for (std::uint64_t b = 0; b < count / kQ8Elems; ++b, values += kQ8Elems, block += kQ8Bytes) {
    float largest = 0;
    for (std::size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(values[i]));
    const float scale = largest / 127.0f;
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    store_le(block, tensor::f32_to_f16(scale));
    for (std::size_t i = 0; i < 32; ++i) {
      // A scale below 2^-128 has an infinite inverse; the clamp keeps the conversion defined (the stored scale is
      // zero then).
      const float scaled = std::clamp(values[i] * inverse, -127.5f, 127.49f);
      block[2 + i] = static_cast<std::byte>(round_half_away(scaled == scaled ? scaled : 0.0f));
    }
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
    {"f32", "F32", encode_f32, decode_f32, true},
    {"f16", "F16", encode_f16, decode_f16, true},
    {"bf16", "BF16", encode_bf16, decode_bf16, true},
    {"q8_0", "Q8_0", encode_q8_0, decode_q8_0, false},
});

}  // namespace

std::span<const Encoder> encoders() noexcept { return kEncoders; }

const Encoder* find_encoder(std::string_view type_name) noexcept {
  for (const Encoder& row : kEncoders)
    if (row.type == type_name) return &row;
  return nullptr;
}

}  // namespace ingot::convert::gguf
