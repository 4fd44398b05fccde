// Writing and verifying an .ingot of BF16 tensors in the page cache, against copying the same file and against reading
// it plus XXH3-128.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "format/base/hash.h"
#include "format/base/parallel.h"
#include "format/container/container.h"
#include "tests/bench/bench.h"

using namespace ingot;

namespace {

/// Values like those of a trained model: small exponents, random mantissas.
std::vector<std::byte> bf16_noise(std::uint64_t bytes) {
  std::vector<std::byte> noise(bytes);
  std::uint64_t state = 1;
  for (std::uint64_t i = 0; i + 1 < bytes; i += 2) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    noise[i] = static_cast<std::byte>(state >> 40);
    noise[i + 1] = static_cast<std::byte>(0x3C - (state >> 60) / 6) | static_cast<std::byte>(state >> 32 & 0x80);
  }
  return noise;
}

tensor::Model model_of(std::uint64_t total_bytes) {
  const tensor::Shape shape = {2048, 4096};
  const tensor::Scheme bf16 = tensor::Scheme::plain(tensor::DType::bf16);
  const auto planes = tensor::planes_in_memory({bf16_noise(2 * 2048 * 4096)}, shape, bf16, tensor::Packing::rows);
  tensor::Model model;
  for (std::uint64_t written = 0; written < total_bytes; written += 2 * 2048 * 4096) {
    tensor::Tensor& one = model.tensors.emplace_back();
    one.name = "model.layers." + std::to_string(model.tensors.size()) + ".mlp.up_proj.weight";
    one.shape = shape;
    one.scheme = bf16;
    one.planes = planes;
  }
  return model;
}

/// read() of the whole file in pieces of 1 MiB, each hashed, by all threads.
void read_and_hash(const std::filesystem::path& path) {
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()), std::vector<std::byte>(kPiece));
  parallel_for(std::filesystem::file_size(path), kPiece, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::byte* buffer = buffers[static_cast<std::size_t>(worker)].data();
    const ssize_t count = ::pread(descriptor, buffer, end - begin, static_cast<off_t>(begin));
    bench::keep(hash128(Bytes(buffer, static_cast<std::size_t>(std::max<ssize_t>(count, 0)))));
  });
  ::close(descriptor);
}

void run(const bench::Options& options, const std::filesystem::path& directory) {
  bench::Report report("container");
  const std::uint64_t bytes = options.smoke ? 32 << 20 : std::uint64_t{1} << 30;
  const std::filesystem::path source = directory / "source.ingot", target = directory / "target";
  container::WriteOptions fast;
  fast.sync = false;
  container::write(model_of(bytes), source, fast);
  tensor::Model model = container::open(source);
  for (tensor::Tensor& one : model.tensors) one.fingerprint.reset();
  container::WriteOptions zstd = fast;
  zstd.compression = container::Compression::zstd;
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  const std::string copy = "cp '" + source.string() + "' '" + target.string() + "'";

  const int rounds = options.smoke ? 1 : 7;
  // Between the measured ones, so that nobody pays for another's dirty pages.
  const auto settle = [&] {
    std::filesystem::remove(target);
    ::sync();
  };
  const auto timings = bench::measure(
      rounds, {settle, [&] { bench::keep(std::system(copy.c_str())); }, settle,
               [&] { container::write(model, target, fast); }, settle, [&] { container::write(model, target, zstd); }});
  const bench::Timing writes[] = {timings[1], timings[3], timings[5]};
  report.add("cp", writes[0], gigabytes, "GB");
  report.add("write raw (limit: cp)", writes[1], gigabytes, "GB", gigabytes / writes[0].median_seconds);
  report.add("write zstd (limit: cp)", writes[2], gigabytes, "GB", gigabytes / writes[0].median_seconds);

  const auto checks = bench::measure(
      rounds, {[&] { read_and_hash(source); }, [&] { bench::keep(container::verify(source, false, {})); },
               [&] { bench::keep(container::verify(source, true, {})); }});
  const double limit = gigabytes / checks[0].median_seconds;
  report.add("read() + XXH3-128", checks[0], gigabytes, "GB");
  report.add("verify (limit: read() + XXH3-128)", checks[1], gigabytes, "GB", limit);
  report.add("verify --values (limit: read() + XXH3-128)", checks[2], gigabytes, "GB", limit);
  report.write_json(options.json_path);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("ingot-container-bench-" + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  run(options, directory);
  std::filesystem::remove_all(directory);
}
