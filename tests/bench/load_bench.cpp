// Opening an .ingot: header, index, every check; no tensor data is read.
#include <unistd.h>

#include <filesystem>

#include "format/container/container.h"
#include "tests/bench/bench.h"

using namespace ingot;

namespace {

/// `count` bfloat16 matrices of 64 x 64 with names as long as real ones.
tensor::Model model_of(int count) {
  tensor::Model model;
  for (int i = 0; i < count; ++i) {
    tensor::Tensor tensor;
    tensor.name = "model.layers." + std::to_string(i) + ".self_attn.q_proj.weight";
    tensor.shape = {64, 64};
    tensor.scheme = tensor::Scheme::plain(tensor::DType::bf16);
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    std::vector<std::vector<std::byte>> planes;
    for (const tensor::PlaneSpec& spec : tensor.plane_specs())
      planes.emplace_back(spec.total_bytes, static_cast<std::byte>(i % 64));
    tensor.planes = tensor::planes_in_memory(std::move(planes), tensor.stored_shape(), tensor.scheme, tensor.packing);
    model.tensors.push_back(std::move(tensor));
  }
  return model;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  bench::Report report("load");
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("ingot-load-bench-" + std::to_string(::getpid()) + ".ingot");
  for (const int count : {1, 100, 1000, 10000}) {
    if (options.smoke && count > 100) break;
    container::WriteOptions write_options;
    write_options.sync = false;
    container::write(model_of(count), path, write_options);
    const auto timings = bench::measure(options.smoke ? 1 : 21, {[&] { bench::keep(container::open(path)); }});
    report.add("open, " + std::to_string(count) + " tensors", timings[0], 1, "call");
  }
  std::filesystem::remove(path);
  report.write_json(options.json_path);
}
