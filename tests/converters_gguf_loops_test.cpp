// Blocks of 32 elements: every build of the loops gives the bytes of the portable one, whatever the values; and codes
// that move while they are joined give the blocks that the recoded planes give.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "converters/gguf/loops.h"
#include "converters/gguf/planes.h"
#include "converters/gguf/recode.h"
#include "format/tensor/group_layout.h"
#include "tests/recode_checks.h"

namespace ingot::test {
namespace {

using convert::gguf::BlockLoops;
using convert::gguf::EncodeLoop;
using convert::gguf::JoinLoop;
using convert::gguf::JoinWordsLoop;
using convert::gguf::SplitWordsLoop;
using namespace convert::recoding;

constexpr std::uint64_t kElems = 32, kMostBlockBytes = 36;

struct EncodeRow {
  const char* name;
  EncodeLoop BlockLoops::*loop;
};
constexpr EncodeRow kEncodeRows[] = {{"Q8_0", &BlockLoops::encode_q8_0},
                                     {"Q4_0", &BlockLoops::encode_q4_0},
                                     {"Q4_1", &BlockLoops::encode_q4_1},
                                     {"Q5_0", &BlockLoops::encode_q5_0},
                                     {"Q5_1", &BlockLoops::encode_q5_1}};

constexpr int kBlockKinds = 8;

/// Blocks of weights, of few distinct values (ties), of tiny and huge numbers, with special values among them,
/// and halves.
std::vector<float> any_block(int kind, std::mt19937_64& random) {
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(kElems);
  for (float& value : values) {
    value = normal(random);
    if (kind == 1) value = static_cast<float>(static_cast<int>(random() % 5) - 2) * 0.25f;
    if (kind == 2) value = std::ldexp(value, static_cast<int>(random() % 300) - 160);
    if (kind == 3) value = std::fabs(value) * static_cast<float>(random() % 3);
    if (kind == 4) value = random() % 2 == 0 ? 0.0f : -0.0f;
    if (kind == 5) value = std::ldexp(value, -140);
    if (kind == 7) {  // halves of the step 1, and their neighbours
      const float half = static_cast<float>(random() % 120) + 0.5f;
      const float near = random() % 2 == 0 ? half : std::nextafter(half, random() % 2 == 0 ? 0.0f : 127.0f);
      value = random() % 2 == 0 ? near : -near;
    }
  }
  if (kind == 7) values[0] = 127;
  constexpr float kSpecial[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max(), -0.0f};
  if (kind == 6) values[random() % kElems] = kSpecial[random() % 5];
  return values;
}

}  // namespace

TEST_CASE("builds_of_the_block_loops_round_alike") {
  std::mt19937_64 random(21);
  for (const EncodeRow& row : kEncodeRows) {
    for (int i = 0; i < 4000; ++i) {
      const std::vector<float> values = any_block(i % kBlockKinds, random);
      std::vector<std::byte> made(kMostBlockBytes), wanted(kMostBlockBytes);
      (convert::gguf::block_loops().*row.loop)(values.data(), 1, made.data());
      (convert::gguf::block_loops_portable().*row.loop)(values.data(), 1, wanted.data());
      if (made == wanted) continue;
      CAPTURE(row.name);
      CAPTURE(i % kBlockKinds);
      CAPTURE(values[0]);
      CHECK(made == wanted);
    }
  }
}

TEST_CASE("builds_of_the_block_loops_join_alike") {
  std::mt19937_64 random(22);
  constexpr JoinLoop BlockLoops::*kJoins[] = {&BlockLoops::join_q4_0, &BlockLoops::join_q4_1, &BlockLoops::join_q5_0,
                                              &BlockLoops::join_q5_1};
  constexpr std::uint64_t kBlocks = 5;
  for (const auto join : kJoins) {
    std::vector<std::uint8_t> codes(kBlocks * kElems);
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random() & 255);
    std::vector<std::byte> parameters(4 * kBlocks), made(kBlocks * kMostBlockBytes), wanted(made.size());
    for (std::byte& byte : parameters) byte = static_cast<std::byte>(random() & 255);
    const std::byte* biases = parameters.data() + 2 * kBlocks;
    (convert::gguf::block_loops().*join)(codes.data(), parameters.data(), biases, kBlocks, made.data());
    (convert::gguf::block_loops_portable().*join)(codes.data(), parameters.data(), biases, kBlocks, wanted.data());
    CHECK(made == wanted);
  }
}

/// Expected values from the definition of the block: bit j of the fifth bits, and the nibble of element j.
TEST_CASE("blocks_with_fifth_bits_split_alike_in_every_build") {
  std::mt19937_64 random(24);
  constexpr std::uint64_t kBlocks = 7;
  for (const bool has_bias : {false, true}) {
    const std::uint64_t head = has_bias ? 4 : 2, block_bytes = head + 20;
    std::vector<std::byte> blocks(kBlocks * block_bytes);
    for (std::byte& byte : blocks) byte = static_cast<std::byte>(random() & 255);
    std::vector<std::uint8_t> wanted;
    for (std::uint64_t b = 0; b < kBlocks; ++b) {
      const auto byte = [&](std::uint64_t i) {
        return std::to_integer<std::uint8_t>(blocks[b * block_bytes + head + i]);
      };
      for (std::uint64_t j = 0; j < kElems; ++j) {
        const int nibble = j < 16 ? byte(4 + j) & 15 : byte(4 + j - 16) >> 4;
        wanted.push_back(static_cast<std::uint8_t>(nibble | (byte(j / 8) >> j % 8 & 1) << 4));
      }
    }
    for (const BlockLoops* loops : {&convert::gguf::block_loops(), &convert::gguf::block_loops_portable()}) {
      std::vector<std::uint8_t> codes(kBlocks * kElems);
      (has_bias ? loops->split_q5_1 : loops->split_q5_0)(blocks.data(), kBlocks, codes.data());
      CHECK(codes == wanted);
    }
  }
}

struct WordsRow {
  const char* name;
  std::uint64_t block_bytes, head_bytes;  // head: scale and bias
  bool has_fifth;
  JoinWordsLoop BlockLoops::*join;
  SplitWordsLoop BlockLoops::*split;
};
constexpr WordsRow kWordsRows[] = {{"Q4_0", 18, 2, false, &BlockLoops::join_words_q4_0, &BlockLoops::split_words_q4_0},
                                   {"Q4_1", 20, 4, false, &BlockLoops::join_words_q4_1, &BlockLoops::split_words_q4_1},
                                   {"Q5_0", 22, 2, true, &BlockLoops::join_words_q5_0, &BlockLoops::split_words_q5_0},
                                   {"Q5_1", 24, 4, true, &BlockLoops::join_words_q5_1, &BlockLoops::split_words_q5_1}};

constexpr std::uint64_t kWordBlocks = 7;

unsigned nibble_at(const std::vector<std::byte>& nibbles, std::uint64_t i) {
  return std::to_integer<unsigned>(nibbles[i / 2]) >> (4 * (i % 2)) & 15;
}

/// Code of element `i` of a row of blocks, by the definition of the block.
unsigned code_in_blocks(const WordsRow& row, const std::vector<std::byte>& blocks, std::uint64_t i) {
  const std::byte* block = blocks.data() + i / kElems * row.block_bytes + row.head_bytes;
  const std::uint64_t j = i % kElems;
  const auto byte = [&](std::uint64_t at) { return std::to_integer<unsigned>(block[at]); };
  const std::uint64_t nibbles = row.has_fifth ? 4 : 0;
  const unsigned nibble = j < 16 ? byte(nibbles + j) & 15 : byte(nibbles + j - 16) >> 4;
  return row.has_fifth ? nibble | (byte(j / 8) >> j % 8 & 1) << 4 : nibble;
}

TEST_CASE("blocks_are_joined_of_words_and_split_into_words_in_every_build") {
  std::mt19937_64 random(25);
  const auto bytes = [&](std::uint64_t count) {
    std::vector<std::byte> result(count);
    for (std::byte& byte : result) byte = static_cast<std::byte>(random() & 255);
    return result;
  };
  for (const WordsRow& row : kWordsRows) {
    for (const BlockLoops* loops : {&convert::gguf::block_loops(), &convert::gguf::block_loops_portable()}) {
      CAPTURE(row.name);
      const std::vector<std::byte> nibbles = bytes(16 * kWordBlocks), parameters = bytes(4 * kWordBlocks);
      std::vector<std::uint8_t> moves(kWordBlocks);
      for (std::uint8_t& move : moves)
        move = static_cast<std::uint8_t>(row.has_fifth ? random() % 17 : 240 + random() % 32);
      for (const bool moved : {false, true}) {
        std::vector<std::byte> blocks(kWordBlocks * row.block_bytes);
        (loops->*row.join)(nibbles.data(), moved ? moves.data() : nullptr, parameters.data(),
                           parameters.data() + 2 * kWordBlocks, kWordBlocks, blocks.data());
        bool right = true;
        for (std::uint64_t i = 0; i < kWordBlocks * kElems; ++i) {
          const unsigned code = nibble_at(nibbles, i) + (moved ? moves[i / kElems] : 0u);
          right &= code_in_blocks(row, blocks, i) == (code & (row.has_fifth ? 31 : 15));
        }
        for (std::uint64_t b = 0; b < kWordBlocks; ++b)
          for (std::uint64_t i = 0; i < row.head_bytes; ++i)
            right &= blocks[b * row.block_bytes + i] == parameters[i / 2 * 2 * kWordBlocks + 2 * b + i % 2];
        CHECK(right);
      }
      const std::vector<std::byte> blocks = bytes(kWordBlocks * row.block_bytes);
      std::vector<std::byte> low(16 * kWordBlocks), fifth(4 * kWordBlocks);
      (loops->*row.split)(blocks.data(), kWordBlocks, low.data(), fifth.data());
      bool right = true;
      for (std::uint64_t i = 0; i < kWordBlocks * kElems; ++i) {
        const unsigned code = code_in_blocks(row, blocks, i);
        right &= nibble_at(low, i) == (code & 15);
      }
      for (std::uint64_t word = 0; word < kWordBlocks && row.has_fifth; ++word)
        for (std::uint32_t byte = 0; byte < 4; ++byte)
          for (std::uint32_t field = 0; field < 8; ++field)
            right &= (std::to_integer<unsigned>(fifth[4 * word + byte]) >> field & 1) ==
                     code_in_blocks(row, blocks, word * kElems + tensor::high_slice_input(4, field, byte)) >> 4;
      CHECK(right);
    }
  }
}

/// The look at the first values leaves out no type that holds all of them.
TEST_CASE("codes_that_fit_into_fewer_bits_take_the_smallest_blocks") {
  std::mt19937_64 random(26);
  const Block block{1, 64};
  for (const std::uint64_t distinct : {2u, 3u, 4u, 16u}) {
    PlainTensor plain =
        checkpoint_like({16, 256}, numbers(DType::u4, {level(DType::f16, block)}, zero(8)), true, random);
    for (std::uint64_t& code : plain.codes) code = distinct == 16 ? random() % 16 : 7 + random() % distinct;
    const Tensor tensor = as_tensor(plain);
    std::string reason;
    const std::optional<convert::gguf::BlockForm> form = convert::gguf::find_block_form(tensor, reason);
    REQUIRE(form);
    CAPTURE(distinct);
    CAPTURE(form->type->name);
    CHECK(equal_values(tensor, form->recoded.tensor));
    CHECK(form->type->name == (distinct == 16 ? "Q4_0" : "Q2_0"));
  }
}

TEST_CASE("codes_that_move_by_groups_give_the_blocks_that_planes_give") {
  std::mt19937_64 random(23);
  const convert::gguf::BlockType& q5_0 = *convert::gguf::find_block_type("Q5_0");
  for (const std::uint32_t cols : {32u, 64u, 0u}) {
    for (const Shape& shape : {Shape{16, 64}, Shape{33, 192}, Shape{3, 20, 128}}) {
      const Block block{1, cols};
      const Scheme from = numbers(DType::u4, {level(DType::f16, block)}, zero_points(DType::u8, block));
      const Tensor source = as_tensor(checkpoint_like(shape, from, true, random));
      const convert::Recoded result = convert::recode(streamed(source), {q5_0.scheme(), {}});
      REQUIRE(result.proof == convert::ProofClass::exact);
      CHECK(equal_values(source, result.tensor));
      REQUIRE(moved_codes(result.tensor));
      const Tensor planes = in_memory(result.tensor);
      REQUIRE_FALSE(moved_codes(planes));
      std::vector<std::byte> moved(planes.elements() / kElems * q5_0.block_bytes), joined(moved.size());
      convert::gguf::pack_blocks(result.tensor, q5_0, 0, moved);
      convert::gguf::pack_blocks(planes, q5_0, 0, joined);
      CHECK(moved == joined);
    }
  }
}

TEST_CASE("zero_points_beyond_the_wanted_codes_are_judged_by_the_codes_themselves") {
  const Block block{1, 32};
  const Scheme from = numbers(DType::u4, {level(DType::f16, block)}, zero_points(DType::u8, block));
  std::mt19937_64 random(24);
  PlainTensor plain = checkpoint_like({20, 64}, from, true, random);
  for (std::uint64_t& zero_point : plain.levels[1]) zero_point = 8;
  plain.levels[1][7] = 17;  // codes below 1 would need code -1 of Q5_0
  for (std::uint64_t& code : plain.codes) code = 5;
  const Tensor fits = as_tensor(plain);
  const convert::StoredForm q5_0{convert::gguf::find_block_type("Q5_0")->scheme(), {}};
  const convert::Recoded kept = convert::recode(fits, q5_0);
  REQUIRE(kept.proof == convert::ProofClass::exact);
  CHECK_FALSE(moved_codes(kept.tensor));
  CHECK(equal_values(fits, kept.tensor));
  for (std::uint64_t& code : plain.codes) code = 0;
  const convert::Recoded refused = convert::recode(as_tensor(plain), q5_0);
  CHECK(refused.proof == convert::ProofClass::refused);
}

TEST_CASE("biases_of_groups_are_those_of_the_general_way") {
  std::mt19937_64 random(25);
  int exact = 0, codes = 0, refused = 0;
  for (int i = 0; i < 90; ++i) {
    const Block from_block{1, i % 2 == 0 ? 64u : 0u}, to_block{1, 32};
    const DType scales = i % 5 == 4 ? DType::bf16 : DType::f16;
    const DType biases[] = {scales, DType::f32, scales == DType::f16 ? DType::bf16 : DType::f16};
    const Scheme bytes = numbers(DType::u4, {level(scales, from_block)}, zero_points(DType::u8, from_block));
    const Scheme nibbles = numbers(DType::u4, {level(scales, from_block)}, zero_points(DType::u4, from_block));
    PlainTensor plain = checkpoint_like({35, 128}, bytes, i % 3 != 2, random);
    if (i % 9 == 0) plain.levels[1].assign(plain.levels[1].size(), 8);
    for (std::uint64_t& zero_point : plain.levels[1]) zero_point %= 16;
    const Tensor fast = as_tensor(plain);
    plain.scheme = nibbles;  // zero points of less than a byte go the general way
    const Tensor general = as_tensor(plain);
    const convert::StoredForm wanted{numbers(DType::u4, {level(scales, to_block)}, bias(biases[i / 3 % 3], to_block)),
                                     {}};
    const convert::Recoded a = convert::recode(streamed(fast), wanted), b = convert::recode(general, wanted);
    CAPTURE(i);
    CAPTURE(b.reason);
    CHECK(a.proof == b.proof);
    CHECK(a.reason == b.reason);
    CHECK(a.worst_steps == b.worst_steps);
    exact += b.proof == convert::ProofClass::exact;
    codes += b.proof == convert::ProofClass::codes;
    refused += b.proof == convert::ProofClass::refused;
    if (a.proof == b.proof && a.proof != convert::ProofClass::refused)
      CHECK(plane_bytes(a.tensor) == plane_bytes(b.tensor));
  }
  CHECK(exact > 5);
  CHECK(codes > 5);
  CHECK(refused > 0);
}

}  // namespace ingot::test
