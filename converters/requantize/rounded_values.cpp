// Values to the bytes of floats, and the signs of zeros, which codes do not keep.
#include "converters/requantize/rounded_values.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert {
namespace {

using tensor::DType;
using tensor::Tensor;

constexpr std::string_view kWord = "rounded", kSigns = "signs", kAttachment = "source/signs/";
constexpr std::uint64_t kBlockElems = 65'536;  // by which signs are found
constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16};

float rounded(float value, DType type) noexcept {
  if (type == DType::f16) return tensor::f16_to_f32(tensor::f32_to_f16(value));
  if (type == DType::bf16) return tensor::bf16_to_f32(tensor::f32_to_bf16(value));
  return value;
}

void round_all(std::span<float> values, const std::vector<DType>& types) noexcept {
  for (float& value : values)
    for (const DType type : types) value = rounded(value, type);
}

/// Exact: the values are numbers of the type.
void store(std::span<const float> values, DType type, std::byte* out) noexcept {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (type == DType::f32)
      store_le(out + 4 * i, std::bit_cast<std::uint32_t>(values[i]));
    else
      store_le(out + 2 * i, type == DType::f16 ? tensor::f32_to_f16(values[i]) : tensor::f32_to_bf16(values[i]));
  }
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

/// One bit for each zero of a block: is it negative? Nothing where all are positive.
std::vector<std::byte> signs_of(std::span<const float> values) {
  std::vector<std::byte> bits;
  std::uint64_t zeros = 0;
  bool any = false;
  for (const float value : values) {
    if (value != 0) continue;
    if (zeros % 8 == 0) bits.push_back(std::byte{0});
    if (std::signbit(value)) {
      bits.back() |= std::byte{1} << (zeros % 8);
      any = true;
    }
    ++zeros;
  }
  return any ? bits : std::vector<std::byte>();
}

/// The offset of every block's bits, 0 for none, and the bits.
std::vector<std::byte> joined(const std::vector<std::vector<std::byte>>& blocks) {
  std::vector<std::byte> all(blocks.size() * sizeof(std::uint64_t));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].empty()) continue;
    store_le(all.data() + i * sizeof(std::uint64_t), std::uint64_t{all.size()});
    all.insert(all.end(), blocks[i].begin(), blocks[i].end());
  }
  return all.size() == blocks.size() * sizeof(std::uint64_t) ? std::vector<std::byte>() : all;
}

/// The signs of the zeros of `source`; nothing where `made`, rounded, has other values.
std::optional<std::vector<std::byte>> signs_between(const Tensor& made, const Tensor& source,
                                                    const std::vector<DType>& types) {
  std::vector<std::vector<std::byte>> blocks(ceil_div(source.elements(), kBlockElems));
  tensor::ValueReader wanted(source), found(made);
  std::atomic<bool> equal{true};
  parallel_for(blocks.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    for (std::uint64_t block = begin; block < end && equal; ++block) {
      const std::uint64_t first = block * kBlockElems;
      std::vector<float> a(std::min(kBlockElems, source.elements() - first)), b(a.size());
      wanted.read(first, a, worker);
      found.read(first, b, worker);
      round_all(b, types);
      if (a != b) equal = false;  // NaN is never recovered; zeros are equal
      blocks[block] = signs_of(a);
    }
  });
  if (!equal) return std::nullopt;
  return joined(blocks);
}

}  // namespace

std::string RoundedPart::text() const {
  std::string text(kWord);
  for (const DType type : types) text += " " + std::string(tensor::name(type));
  return signs ? text + " " + std::string(kSigns) + " " + std::to_string(*signs) : text;
}

std::string RoundedPart::attachment() const { return std::string(kAttachment) + std::to_string(*signs); }

bool is_rounded_part(std::string_view part) noexcept { return part.starts_with("rounded "); }

RoundedPart parse_rounded_part(std::string_view part, const std::string& where) {
  const std::vector<std::string_view> words = words_of(part);
  RoundedPart result;
  std::size_t at = 1;
  for (; at < words.size() && result.types.size() < 2; ++at) {
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](DType known) { return tensor::name(known) == words[at]; });
    if (type == std::end(kTypes)) break;
    result.types.push_back(*type);
  }
  if (at + 2 == words.size() && words[at] == kSigns) {
    std::uint64_t number = 0;
    const std::string_view digits = words[at + 1];
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc() && end == digits.data() + digits.size()) result.signs = number;
  }
  if (words.empty() || words[0] != kWord || result.types.empty() || result.text() != part) {
    throw Error(ErrorKind::invalid_value, where + ": part \"" + std::string(part) +
                                              "\", expected \"rounded TYPE [TYPE] [signs N]\" of f32, f16 and bf16");
  }
  return result;
}

RoundedValues::RoundedValues(const Tensor& tensor, std::vector<DType> types, Bytes signs)
    : tensor_(tensor), types_(std::move(types)), element_bytes_(tensor::bits(types_.back()) / 8), signs_(signs) {
  if (!signs_.empty() && signs_.size() / sizeof(std::uint64_t) < ceil_div(tensor.elements(), kBlockElems)) {
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': " + std::to_string(signs_.size()) +
                                              " bytes are too few for the signs of its zeros");
  }
}

void RoundedValues::apply_signs(std::uint64_t block, std::span<float> values) const {
  const std::uint64_t offset =
      signs_.empty() ? 0 : load_le<std::uint64_t>(signs_.data() + block * sizeof(std::uint64_t));
  std::uint64_t zeros = 0;
  for (float& value : values) {
    if (value != 0) continue;
    value = 0;
    if (offset != 0) {
      if (offset >= signs_.size() || zeros / 8 >= signs_.size() - offset) {
        throw Error(
            ErrorKind::invalid_value,
            "tensor '" + tensor_.name + "': the signs of its zeros are cut off in block " + std::to_string(block));
      }
      const unsigned bits = std::to_integer<unsigned>(signs_[offset + zeros / 8]);
      if ((bits >> (zeros % 8) & 1) != 0) value = -0.0f;
    }
    ++zeros;
  }
}

void RoundedValues::pack(std::uint64_t begin, std::span<std::byte> out) const {
  const std::uint64_t end = begin + out.size(), block_bytes = kBlockElems * element_bytes_;
  std::vector<float> values;
  std::vector<std::byte> packed;
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t block = at / block_bytes, first = block * kBlockElems;
    values.resize(std::min(kBlockElems, tensor_.elements() - first));
    tensor::decode_logical_range(tensor_, first, values);
    round_all(values, types_);
    apply_signs(block, values);
    packed.resize(values.size() * element_bytes_);
    store(values, types_.back(), packed.data());
    const std::uint64_t piece_end = std::min(end, block * block_bytes + packed.size());
    std::memcpy(out.data() + (at - begin), packed.data() + (at - block * block_bytes), piece_end - at);
    at = piece_end;
  }
}

std::optional<WayBack> way_back(const Tensor& made, const Tensor& source) {
  const DType type = source.scheme.codes.type;
  if (!source.scheme.is_plain() || made.shape != source.shape ||
      std::find(std::begin(kTypes), std::end(kTypes), type) == std::end(kTypes))
    return std::nullopt;
  std::vector<std::vector<DType>> chains = {{type}};
  if (type == DType::f32) chains.insert(chains.end(), {{DType::f16, type}, {DType::bf16, type}});
  for (std::vector<DType>& types : chains)
    if (std::optional<std::vector<std::byte>> signs = signs_between(made, source, types))
      return WayBack{{std::move(types), std::nullopt}, std::move(*signs)};
  return std::nullopt;
}

}  // namespace ingot::convert
