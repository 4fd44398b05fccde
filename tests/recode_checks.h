// What the tests of recode() share: schemes in a few words, random tensors as checkpoints hold them, and the judgement
// of a result by the decoder.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "converters/recode/recode.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tensor_oracle.h"

namespace ingot::convert::recoding {

using tensor::Block;
using tensor::CodeKind;
using tensor::DType;
using tensor::Level;
using tensor::Offset;
using tensor::OffsetKind;
using tensor::Order;
using tensor::Packing;
using tensor::Scheme;
using tensor::Shape;
using tensor::Tensor;
using tensor::Transform;
using tensor::TransformKind;
using test::canonical;
using test::PlainTensor;

inline constexpr Block kRow{1, 0}, kAll{0, 0};
inline Block group(std::uint32_t cols) { return {1, cols}; }

inline Level level(DType type, Block block, bool custom_table = false) { return {type, block, 1, 0, custom_table}; }
inline Scheme numbers(DType type, std::vector<Level> scales, Offset offset = {}) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = std::move(scales);
  scheme.offset = std::move(offset);
  return scheme;
}
inline Scheme table(const char* name, DType type, std::vector<Level> scales) {
  Scheme scheme = numbers(type, std::move(scales));
  scheme.codes.kind = CodeKind::table;
  scheme.codes.table = name;
  return scheme;
}
inline Scheme ordered(Scheme scheme, Order order) {
  scheme.order = order;
  return scheme;
}
inline Scheme flat(Scheme scheme, std::uint32_t elements) {
  scheme.flat = elements;
  return scheme;
}
inline Scheme rounded(Scheme scheme) {
  scheme.rounded_scale = true;
  return scheme;
}
inline Scheme stepped(Scheme scheme) {
  scheme.rounded_steps = true;
  return scheme;
}
inline Offset zero(std::int32_t value) { return {OffsetKind::zero, value, {}}; }
inline Offset zero_points(DType type, Block block) { return {OffsetKind::zero_points, 0, {level(type, block)}}; }
inline Offset bias(DType type, Block block) { return {OffsetKind::bias, 0, {level(type, block)}}; }
inline Offset minimum(std::vector<Level> levels) { return {OffsetKind::minimum, 0, std::move(levels)}; }

inline std::vector<float> values(const Tensor& tensor) {
  std::vector<float> out(tensor.elements());
  tensor::decode_logical(tensor, out);
  return out;
}

inline bool equal_values(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = values(a), y = values(b);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (canonical(x[i]) != canonical(y[i])) return false;
  return x.size() == y.size();
}

/// All bytes of every plane, read unit by unit in odd steps.
inline std::vector<std::vector<std::byte>> plane_bytes(const Tensor& tensor) {
  const auto specs = tensor.plane_specs();
  std::vector<std::vector<std::byte>> planes(specs.size());
  const std::uint64_t units = tensor.geometry().units;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    planes[i].resize(specs[i].total_bytes, std::byte{0xEE});
    if (specs[i].sliced) continue;
    const Bytes whole = tensor.planes->whole(i);
    REQUIRE(whole.size() == planes[i].size());
    std::copy(whole.begin(), whole.end(), planes[i].begin());
  }
  for (std::uint64_t begin = 0; begin < units;) {
    const std::uint64_t end = std::min(units, begin + 1 + begin % 3);
    std::vector<std::byte*> out(specs.size(), nullptr);
    for (std::size_t i = 0; i < specs.size(); ++i)
      if (specs[i].sliced) out[i] = planes[i].data() + begin * specs[i].unit_bytes;
    tensor.planes->read_units(begin, end, out);
    begin = end;
  }
  return planes;
}

inline Tensor in_memory(const Tensor& tensor) {
  Tensor copy = tensor;
  copy.planes = tensor::planes_in_memory(plane_bytes(tensor), tensor.stored_shape(), tensor.scheme, tensor.packing);
  return copy;
}

/// A source that gives no views, so that every plane goes through read_units().
class Streamed final : public tensor::PlaneSource {
 public:
  Streamed(std::shared_ptr<const tensor::PlaneSource> inner, std::vector<tensor::PlaneSpec> specs)
      : inner_(std::move(inner)), specs_(std::move(specs)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t index) const override {
    return specs_[index].sliced ? std::nullopt : inner_->view(index);
  }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    inner_->read_units(begin, end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return inner_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> inner_;
  std::vector<tensor::PlaneSpec> specs_;
};

inline Tensor streamed(const Tensor& tensor) {
  Tensor copy = tensor;
  copy.planes = std::make_shared<Streamed>(tensor.planes, tensor.plane_specs());
  return copy;
}

/// What a checkpoint holds: zero points near the middle of the codes, orders made of whole groups.
inline PlainTensor checkpoint_like(const Shape& shape, const Scheme& scheme, bool tame, std::mt19937_64& random) {
  const Packing packing = tensor::canonical_packing(shape, scheme);
  PlainTensor plain = test::random_tensor(shape, scheme, packing, tame, random);
  const std::size_t scales = scheme.scales.size();
  if (scheme.offset.kind == OffsetKind::zero_points && !tensor::info(scheme.offset.levels[0].type).is_float) {
    for (std::uint64_t& element : plain.levels[scales])
      element = random() % (std::uint64_t{1} << std::min<int>(tensor::bits(scheme.codes.type),
                                                              tensor::bits(scheme.offset.levels[0].type)));
  }
  if (scheme.order == Order::group_index && tame) {
    const std::uint64_t cols = scheme.scales[0].block.cols;
    for (std::size_t c = 0; c < plain.order.size(); ++c) plain.order[c] = static_cast<std::uint32_t>(c / cols);
    std::shuffle(plain.order.begin(), plain.order.end(), random);
  }
  return plain;
}

struct Outcome {
  int exact = 0, codes = 0, refused = 0;
};

inline void check_recoded(const Tensor& source, const StoredForm& wanted, const Recoded& result) {
  REQUIRE(result.proof != ProofClass::requantized);
  if (result.proof == ProofClass::refused) {
    CHECK_FALSE(result.reason.empty());
    return;
  }
  const Tensor& made = result.tensor;
  CHECK(made.scheme == wanted.scheme);
  CHECK(made.transforms == wanted.transforms);
  CHECK(made.packing == tensor::canonical_packing(made.stored_shape(), wanted.scheme));
  const Tensor copy = in_memory(made);  // read_units() agrees with views
  for (std::size_t i = 0; i < made.plane_specs().size(); ++i) {
    const auto view = made.planes->view(i);
    if (view) CHECK(std::equal(view->begin(), view->end(), copy.planes->view(i)->begin(), copy.planes->view(i)->end()));
  }
  if (result.proof == ProofClass::exact) {
    CHECK(result.worst_steps == 0);
    CHECK(equal_values(source, made));
    CHECK(equal_values(source, copy));
    CHECK(tensor::fingerprint(source) == tensor::fingerprint(made));
  } else {
    CHECK_FALSE(result.reason.empty());
    CHECK(result.worst_steps > 0);
    CHECK(result.worst_steps <= 0.5);
  }
}

inline Outcome try_pair(const Scheme& from, const Scheme& to, bool tame, const std::vector<Shape>& shapes, int times,
                        std::uint64_t seed = 1) {
  Outcome outcome;
  std::mt19937_64 random(seed);
  for (const Shape& shape : shapes) {
    for (int i = 0; i < times; ++i) {
      const Tensor source = test::as_tensor(checkpoint_like(shape, from, tame, random));
      const StoredForm wanted{to, {}};
      CAPTURE(tensor::describe(from));
      CAPTURE(tensor::describe(to));
      CAPTURE(shape.size());
      CAPTURE(shape.back());
      const Recoded result = recode(i % 2 == 0 ? source : streamed(source), wanted);
      CAPTURE(result.reason);
      check_recoded(source, wanted, result);
      if (result.proof == ProofClass::exact) ++outcome.exact;
      if (result.proof == ProofClass::codes) ++outcome.codes;
      if (result.proof == ProofClass::refused) ++outcome.refused;
    }
  }
  return outcome;
}

}  // namespace ingot::convert::recoding
