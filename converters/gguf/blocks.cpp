// The table of ggml tensor types. A new type is one row here, one scheme function and one pair of split and join
// functions.
#include "converters/gguf/blocks.h"

#include <array>

#include "converters/gguf/block_codecs.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Block;
using tensor::CodeKind;
using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Scheme;

constexpr Block kEight{1, 8}, kSixteen{1, 16}, kThirtyTwo{1, 32}, kSixtyFour{1, 64}, kOneTwentyEight{1, 128},
    kSuper{1, 256};

constexpr Level level(DType type, Block block) {
  Level result;
  result.type = type;
  result.block = block;
  return result;
}

Scheme numbers(DType type, std::vector<Level> scales) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = std::move(scales);
  return scheme;
}
Scheme with_zero(Scheme scheme, std::int32_t zero) {
  scheme.offset.kind = OffsetKind::zero;
  scheme.offset.zero = zero;
  return scheme;
}
Scheme with_bias(Scheme scheme, Level bias) {
  scheme.offset.kind = OffsetKind::bias;
  scheme.offset.levels = {bias};
  return scheme;
}
Scheme with_minimum(Scheme scheme, std::vector<Level> levels) {
  scheme.offset.kind = OffsetKind::minimum;
  scheme.offset.levels = std::move(levels);
  return scheme;
}
Scheme with_table(Scheme scheme, const char* table) {
  scheme.codes.kind = CodeKind::table;
  scheme.codes.table = table;
  return scheme;
}

template <DType type>
Scheme plain() {
  return Scheme::plain(type);
}
constexpr Level kHalf32 = level(DType::f16, kThirtyTwo);
constexpr Level kHalfSuper = level(DType::f16, kSuper);

Scheme q4_0() { return with_zero(numbers(DType::u4, {kHalf32}), 8); }
Scheme q4_1() { return with_bias(numbers(DType::u4, {kHalf32}), kHalf32); }
Scheme q5_0() { return with_zero(numbers(DType::u5, {kHalf32}), 16); }
Scheme q5_1() { return with_bias(numbers(DType::u5, {kHalf32}), kHalf32); }
Scheme q8_0() { return numbers(DType::i8, {kHalf32}); }
Scheme q2_k() {
  const Level sub = level(DType::u4, kSixteen);
  return with_minimum(numbers(DType::u2, {sub, kHalfSuper}), {sub, kHalfSuper});
}
Scheme q3_k() { return with_zero(numbers(DType::u3, {level(DType::i8, kSixteen), kHalfSuper}), 4); }
Scheme four_or_five_k(DType codes) {
  const Level sub = level(DType::u8, kThirtyTwo);
  return with_minimum(numbers(codes, {sub, kHalfSuper}), {sub, kHalfSuper});
}
Scheme q4_k() { return four_or_five_k(DType::u4); }
Scheme q5_k() { return four_or_five_k(DType::u5); }
Scheme q6_k() { return with_zero(numbers(DType::u6, {level(DType::i8, kSixteen), kHalfSuper}), 32); }
Scheme q8_k() { return numbers(DType::i8, {level(DType::f32, kSuper)}); }
Scheme iq4_nl() { return with_table(numbers(DType::u4, {kHalf32}), "iq4nl"); }
Scheme iq4_xs() { return with_table(numbers(DType::u4, {level(DType::i8, kThirtyTwo), kHalfSuper}), "iq4nl"); }
Scheme ternary() { return with_zero(numbers(DType::u2, {kHalfSuper}), 1); }
Scheme mxfp4() { return numbers(DType::e2m1, {level(DType::e8m0, kThirtyTwo)}); }
Scheme nvfp4() { return numbers(DType::e2m1, {level(DType::e4m3, kSixteen)}); }
/// A grid's index stands for several elements. The sub-scale s means 2 s + 1.
Scheme grid(const char* name, DType index, std::int32_t shift, DType sub_scale, Block sub_block) {
  Level sub = level(sub_scale, sub_block);
  sub.multiply = 2;
  sub.add = 1;
  Scheme scheme = numbers(index, {sub, kHalfSuper});
  scheme.codes.kind = CodeKind::grid;
  scheme.codes.table = name;
  scheme.shift = shift;
  return scheme;
}
/// IQ1: entries in eighths, moved by one eighth up (bit 0) or down (bit 1).
Scheme with_eighths(Scheme scheme, Block block) {
  Level sign = level(DType::u1, block);
  sign.multiply = 2;
  sign.add = -1;
  scheme.offset.kind = OffsetKind::zero_points;
  scheme.offset.levels = {sign};
  return scheme;
}
Scheme iq2_xxs() { return grid("iq2_xxs", DType::u8, -3, DType::u4, kThirtyTwo); }
Scheme iq2_xs() { return grid("iq2_xs", DType::u9, -3, DType::u4, kSixteen); }
Scheme iq2_s() { return grid("iq2_s", DType::u10, -3, DType::u4, kSixteen); }
Scheme iq3_xxs() { return grid("iq3_xxs", DType::u8, -2, DType::u4, kThirtyTwo); }
Scheme iq3_s() { return grid("iq3_s", DType::u9, 0, DType::u4, kThirtyTwo); }
Scheme iq1_s() { return with_eighths(grid("iq1_s", DType::u11, -3, DType::u3, kThirtyTwo), kThirtyTwo); }
Scheme iq1_m() { return with_eighths(grid("iq1_s", DType::u11, -3, DType::u3, kSixteen), kEight); }
Scheme q1_0() { return with_table(numbers(DType::u1, {level(DType::f16, kOneTwentyEight)}), "custom"); }
Scheme q2_0() { return with_zero(numbers(DType::u2, {level(DType::f16, kSixtyFour)}), 1); }

constexpr auto kPlain = BlockKind::plain;
constexpr auto kCoded = BlockKind::coded;

// Ids 4, 5, 31 to 33 and 36 to 38 were withdrawn by ggml.
constexpr std::array<BlockType, 35> kTypes = {{
    // id, name, elements and bytes per block, kind, scheme, codec, one encoding, writable, file type, bits of
    // sub-scales
    {0, "F32", 1, 4, kPlain, plain<DType::f32>, nullptr, true, true, 0},
    {1, "F16", 1, 2, kPlain, plain<DType::f16>, nullptr, true, true, 1},
    {2, "Q4_0", 32, 18, kCoded, q4_0, &kCodecQ4_0, true, true, 2},
    {3, "Q4_1", 32, 20, kCoded, q4_1, &kCodecQ4_1, true, true, 3},
    {6, "Q5_0", 32, 22, kCoded, q5_0, &kCodecQ5_0, true, true, 8},
    {7, "Q5_1", 32, 24, kCoded, q5_1, &kCodecQ5_1, true, true, 9},
    {8, "Q8_0", 32, 34, kCoded, q8_0, &kCodecQ8_0, true, true, 7},
    {9, "Q8_1", 32, 36, kCoded, q8_0, &kCodecQ8_1, false, false, -1},
    {10, "Q2_K", 256, 84, kCoded, q2_k, &kCodecQ2K, true, true, 10},
    {11, "Q3_K", 256, 110, kCoded, q3_k, &kCodecQ3K, true, true, 12, 6},
    {12, "Q4_K", 256, 144, kCoded, q4_k, &kCodecQ4K, true, true, 15, 6},
    {13, "Q5_K", 256, 176, kCoded, q5_k, &kCodecQ5K, true, true, 17, 6},
    {14, "Q6_K", 256, 210, kCoded, q6_k, &kCodecQ6K, true, true, 18},
    {15, "Q8_K", 256, 292, kCoded, q8_k, &kCodecQ8K, false, false, -1},
    {16, "IQ2_XXS", 256, 66, kCoded, iq2_xxs, &kCodecIq2Xxs, true, true, 19},
    {17, "IQ2_XS", 256, 74, kCoded, iq2_xs, &kCodecIq2Xs, true, true, 20},
    {18, "IQ3_XXS", 256, 98, kCoded, iq3_xxs, &kCodecIq3Xxs, true, true, 23},
    {19, "IQ1_S", 256, 50, kCoded, iq1_s, &kCodecIq1S, true, true, 24},
    {20, "IQ4_NL", 32, 18, kCoded, iq4_nl, &kCodecIq4Nl, true, true, 25},
    {21, "IQ3_S", 256, 110, kCoded, iq3_s, &kCodecIq3S, true, true, 26},
    {22, "IQ2_S", 256, 82, kCoded, iq2_s, &kCodecIq2S, true, true, 28},
    {23, "IQ4_XS", 256, 136, kCoded, iq4_xs, &kCodecIq4Xs, true, true, 30, 6},
    {24, "I8", 1, 1, kPlain, plain<DType::i8>, nullptr, true, true, -1},
    {25, "I16", 1, 2, kPlain, plain<DType::i16>, nullptr, true, true, -1},
    {26, "I32", 1, 4, kPlain, plain<DType::i32>, nullptr, true, true, -1},
    {27, "I64", 1, 8, kPlain, plain<DType::i64>, nullptr, true, true, -1},
    {28, "F64", 1, 8, kPlain, plain<DType::f64>, nullptr, true, false, -1},
    {29, "IQ1_M", 256, 56, kCoded, iq1_m, &kCodecIq1M, true, true, 31},
    {30, "BF16", 1, 2, kPlain, plain<DType::bf16>, nullptr, true, true, 32},
    {34, "TQ1_0", 256, 54, kCoded, ternary, &kCodecTq1_0, false, false, 36},
    {35, "TQ2_0", 256, 66, kCoded, ternary, &kCodecTq2_0, true, true, 37},
    {39, "MXFP4", 32, 17, kCoded, mxfp4, &kCodecMxfp4, true, true, 38},
    {40, "NVFP4", 64, 36, kCoded, nvfp4, &kCodecNvfp4, false, true, 39},
    {41, "Q1_0", 128, 18, kCoded, q1_0, &kCodecQ1_0, true, true, 40},
    {42, "Q2_0", 64, 18, kCoded, q2_0, &kCodecQ2_0, true, true, 41},
}};

constexpr bool names_and_ids_are_unique() {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (kTypes[i].name == kTypes[j].name || kTypes[i].id == kTypes[j].id) return false;
  return true;
}
static_assert(names_and_ids_are_unique());

}  // namespace

std::span<const BlockType> block_types() noexcept { return kTypes; }

const BlockType* find_block_type(std::uint32_t id) noexcept {
  for (const BlockType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const BlockType* find_block_type(std::string_view name) noexcept {
  for (const BlockType& type : kTypes)
    if (type.name == name) return &type;
  return nullptr;
}

}  // namespace ingot::convert::gguf
