// recode() and requantize(): the decision, and reading all planes of the result with one thread. Bytes are those of the
// source's planes; the limit is a copy of as many.
#include <cstring>
#include <random>

#include "converters/recode/recode.h"
#include "tests/bench/bench.h"

namespace {

using namespace ingot;
using tensor::Block;
using tensor::DType;
using tensor::Level;
using tensor::Offset;
using tensor::OffsetKind;
using tensor::Scheme;

Level level(DType type, std::uint32_t cols) { return {type, {1, cols}}; }
Scheme numbers(DType type, Level scale, Offset offset = {}) {
  Scheme scheme;
  scheme.codes.type = type;
  scheme.scales = {scale};
  scheme.offset = std::move(offset);
  return scheme;
}
Offset zero(std::int32_t value) { return {OffsetKind::zero, value, {}}; }
Offset zero_points(Level one) { return {OffsetKind::zero_points, 0, {one}}; }
Offset bias(Level one) { return {OffsetKind::bias, 0, {one}}; }

/// Scales near 1/64 with few significant bits, so that every product is exact.
std::byte typical_byte(DType type, std::uint64_t byte, std::mt19937& random) {
  const auto any = static_cast<std::uint8_t>(random());
  if (type == DType::f16) return static_cast<std::byte>(byte % 2 == 0 ? any & 0xC0 : 0x24 | (any & 3));
  if (type == DType::f32) return static_cast<std::byte>(byte % 4 == 3 ? 0x3C : any & 0x70);
  if (type == DType::u8) return static_cast<std::byte>(any & 15);  // zero points of 4-bit codes
  return static_cast<std::byte>(any);
}

tensor::Tensor random_tensor(const Scheme& scheme, const tensor::Shape& shape) {
  std::mt19937 random(7);
  tensor::Tensor tensor;
  tensor.name = "bench";
  tensor.shape = shape;
  tensor.scheme = scheme;
  tensor.packing = tensor::canonical_packing(shape, scheme);
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : tensor.plane_specs()) {
    std::vector<std::byte>& plane = planes.emplace_back(spec.total_bytes);
    for (std::uint64_t i = 0; i < plane.size(); ++i) plane[i] = typical_byte(spec.type, i, random);
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), shape, scheme, tensor.packing);
  return tensor;
}

void read_all(const tensor::Tensor& tensor) {
  const auto specs = tensor.plane_specs();
  constexpr std::uint64_t kUnits = 4;
  std::vector<std::vector<std::byte>> buffers(specs.size());
  std::vector<std::byte*> out(specs.size(), nullptr);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    buffers[i].resize(kUnits * specs[i].unit_bytes);
    if (specs[i].sliced) out[i] = buffers[i].data();
  }
  const std::uint64_t units = tensor.geometry().units;
  for (std::uint64_t unit = 0; unit < units; unit += kUnits) {
    tensor.planes->read_units(unit, std::min(units, unit + kUnits), out);
    bench::keep(buffers);
  }
}

struct Pair {
  const char* name;
  Scheme from, to;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  const tensor::Shape shape = {options.smoke ? 64u : 1024u, 4096};
  const int rounds = options.smoke ? 1 : 9;
  const Level half32 = level(DType::f16, 32), half128 = level(DType::f16, 128);
  const Scheme gptq = numbers(DType::u4, half128, zero_points(level(DType::u8, 128)));
  const Pair pairs[] = {
      {"zero points -> Q5_0", gptq, numbers(DType::u5, half32, zero(16))},
      {"zero points -> bias f16", gptq, numbers(DType::u4, half128, bias(half128))},
      {"zero points u8 -> u4", gptq, numbers(DType::u4, half128, zero_points(level(DType::u4, 128)))},
      {"u4 z8 group 128 -> Q4_0", numbers(DType::u4, half128, zero(8)), numbers(DType::u4, half32, zero(8))},
      {"u8 z128 -> Q8_0", numbers(DType::u8, half32, zero(128)), numbers(DType::i8, half32)},
  };
  bench::Report report("recode");
  for (const Pair& pair : pairs) {
    const tensor::Tensor source = random_tensor(pair.from, shape);
    const convert::StoredForm wanted{pair.to, {}};
    const convert::Recoded recoded = convert::recode(source, wanted);
    if (recoded.proof != convert::ProofClass::exact) return 3;
    const double bytes = 1e-9 * static_cast<double>(source.stored_bytes());
    std::vector<std::byte> from(source.stored_bytes(), std::byte{1}), to(from.size());
    const std::vector<bench::Timing> timings = bench::measure(
        rounds, {[&] {
                   std::memcpy(to.data(), from.data(), to.size());
                   bench::keep(to);
                 },
                 [&] { bench::keep(convert::recode(source, wanted)); }, [&] { read_all(recoded.tensor); }});
    const double limit = bytes / timings[0].median_seconds;
    report.add(std::string(pair.name) + ", decision", timings[1], bytes, "GB", limit);
    report.add(std::string(pair.name) + ", read, 1 thread", timings[2], bytes, "GB", limit);
  }
  const tensor::Tensor values = random_tensor(Scheme::plain(DType::f32), shape);
  const Scheme quantized[] = {numbers(DType::u4, half32, zero(8)), numbers(DType::i8, half32),
                              numbers(DType::u4, half32, bias(half32))};
  for (const Scheme& scheme : quantized) {
    const tensor::Tensor made = convert::requantize(values, {scheme, {}});
    const double bytes = 1e-9 * static_cast<double>(values.stored_bytes());
    const std::vector<bench::Timing> timings = bench::measure(rounds, {[&] { read_all(made); }});
    report.add("f32 -> " + tensor::describe(scheme) + ", 1 thread", timings[0], bytes, "GB", 0);
  }
  report.write_json(options.json_path);
  return 0;
}
