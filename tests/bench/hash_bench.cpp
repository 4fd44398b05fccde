// XXH3-128 on one and on all threads against reading the same memory.
#include <numeric>

#include "format/base/hash.h"
#include "format/base/parallel.h"
#include "tests/bench/bench.h"

using namespace ingot;

namespace {

constexpr std::uint64_t kChunkBytes = 4u << 20;

/// Reads every 64-byte line from four streams at once, the fastest way one thread can.
std::uint64_t read_lines(Bytes bytes) {
  std::uint64_t sums[4] = {};
  const std::uint64_t quarter = bytes.size() / 4 / 64 * 64;
  for (std::uint64_t at = 0; at < quarter; at += 64) {
    for (std::uint64_t stream = 0; stream < 4; ++stream) {
      const std::byte* line = bytes.data() + stream * quarter + at;
      sums[stream] += load_le<std::uint64_t>(line) ^ load_le<std::uint64_t>(line + 32);
    }
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

void over_chunks(Bytes bytes, const std::function<void(Bytes)>& work) {
  parallel_for(bytes.size(), kChunkBytes,
               [&](std::uint64_t begin, std::uint64_t end, int) { work(bytes.subspan(begin, end - begin)); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  bench::Report report("hash");
  const int rounds = options.smoke ? 1 : 15;
  const std::uint64_t size = options.smoke ? 16u << 20 : 512u << 20;
  std::vector<std::byte> memory(size, std::byte{1});
  const double gigabytes = static_cast<double>(size) / 1e9;
  const int all = thread_count();
  for (const int threads : {1, all}) {
    set_thread_count(threads);
    const auto timings =
        bench::measure(rounds, {[&] { over_chunks(memory, [](Bytes chunk) { bench::keep(read_lines(chunk)); }); },
                                [&] { over_chunks(memory, [](Bytes chunk) { bench::keep(hash128(chunk)); }); }});
    const std::string suffix = ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    report.add("read memory" + suffix, timings[0], gigabytes, "GB");
    report.add("hash128, 4 MiB chunks" + suffix, timings[1], gigabytes, "GB", gigabytes / timings[0].median_seconds);
    if (all == 1) break;
  }
  const Bytes in_cache = Bytes(memory).first(256u << 10);
  const auto cached = bench::measure(rounds, {[&] {
                                       for (int i = 0; i < 1000; ++i) bench::keep(hash128(in_cache));
                                     }});
  report.add("hash128, 256 KiB in cache, 1 thread", cached[0], 1000 * static_cast<double>(in_cache.size()) / 1e9, "GB");
  report.write_json(options.json_path);
}
