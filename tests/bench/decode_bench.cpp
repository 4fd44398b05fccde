// Exact decoding to binary32 with one thread, per scheme: from ggml blocks (split while they are read), from canonical
// planes in memory (as of a mapped .ingot), and the fingerprint on all threads. The limit is a copy of as many bytes as
// come out.
#include <cstring>
#include <random>

#include "converters/gguf/blocks.h"
#include "converters/gguf/planes.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "format/tensor/fingerprint.h"
#include "tests/bench/bench.h"

namespace {

using namespace ingot;

/// Numbers as models have them: no infinities, no subnormals.
std::byte typical_byte(tensor::DType type, std::uint64_t byte, std::mt19937& random) {
  const auto any = static_cast<std::uint8_t>(random());
  switch (type) {
    case tensor::DType::f16: return static_cast<std::byte>(byte % 2 == 0 ? any : 0x24 | (any & 0x83));
    case tensor::DType::bf16: return static_cast<std::byte>(byte % 2 == 0 ? any & 0x7F : 0x3C | (any & 0x80));
    case tensor::DType::f32: return static_cast<std::byte>(byte % 4 == 3 ? 0x3C | (any & 0x80) : any & 0x7F);
    case tensor::DType::e8m0: return static_cast<std::byte>(112 + any % 16);
    case tensor::DType::e4m3: return static_cast<std::byte>(any & 0x3F);
    default: return static_cast<std::byte>(any);
  }
}

tensor::Tensor random_tensor(const tensor::Scheme& scheme, const tensor::Shape& shape) {
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
    if (spec.role == "table") {
      const float signs[2] = {-1, 1};
      std::memcpy(plane.data(), signs, sizeof signs);
    }
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), shape, scheme, tensor.packing);
  return tensor;
}

void decode_all(const tensor::Tensor& tensor, std::vector<float>& piece) {
  tensor::ValueReader reader(tensor);
  for (std::uint64_t at = 0; at < reader.elements(); at += piece.size()) {
    reader.read(at, std::span(piece).first(std::min<std::uint64_t>(piece.size(), reader.elements() - at)), 0);
    bench::keep(piece);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  const tensor::Shape shape = {options.smoke ? 64u : 1024u, 2048};
  const int rounds = options.smoke ? 1 : 15;
  const std::uint64_t elements = shape[0] * shape[1];
  const double output = 4e-9 * static_cast<double>(elements);
  std::vector<float> piece(65536), other(65536, 1.0f);
  bench::Report report("decode");
  for (const convert::gguf::BlockType& type : convert::gguf::block_types()) {
    if (!tensor::info(type.scheme().codes.type).is_float) {
      if (type.kind != convert::gguf::BlockKind::coded) continue;
    }
    const tensor::Tensor planes = random_tensor(type.scheme(), shape);
    tensor::Tensor blocks = planes;
    std::vector<std::byte> bytes;
    if (type.kind == convert::gguf::BlockKind::coded) {
      bytes.resize(elements / type.block_elems * type.block_bytes);
      convert::gguf::pack_blocks(planes, type, 0, bytes);
      blocks.planes = convert::gguf::block_planes(nullptr, bytes, type, shape);
    }
    const std::vector<bench::Timing> timings =
        bench::measure(rounds, {[&] {
                                  for (std::uint64_t at = 0; at < elements; at += piece.size()) {
                                    std::memcpy(piece.data(), other.data(), piece.size() * sizeof(float));
                                    bench::keep(piece);
                                  }
                                },
                                [&] { decode_all(blocks, piece); }, [&] { decode_all(planes, piece); },
                                [&] { bench::keep(tensor::fingerprint(planes)); }});
    const std::string name(type.name);
    const double limit = output / timings[0].median_seconds;
    if (type.kind == convert::gguf::BlockKind::coded)
      report.add(name + " blocks -> f32, 1 thread", timings[1], output, "GB", limit);
    report.add(name + " planes -> f32, 1 thread", timings[2], output, "GB", limit);
    report.add(name + " fingerprint, all threads", timings[3], output, "GB", limit);
  }
  report.write_json(options.json_path);
  return 0;
}
