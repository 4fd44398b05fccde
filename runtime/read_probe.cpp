#include "runtime/read_probe.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <new>
#include <string>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "runtime/statistics.h"

namespace ingot::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kPageWords = 4096 / sizeof(std::uint64_t);
constexpr int kTrials = 5;  // of each pattern

// XOR of `words` words at each of kStreams places: cheap enough for the memory to be the limit.
template <int kStreams>
std::uint64_t read_streams(const std::uint64_t* begin, std::uint64_t words) noexcept {
  constexpr std::uint64_t kLine = 8;
  const std::uint64_t each = words / kStreams / kLine * kLine;
  std::uint64_t sums[kStreams][kLine] = {};
  for (std::uint64_t i = 0; i < each; i += kLine) {
    for (int s = 0; s < kStreams; ++s) {
      const std::uint64_t* line = begin + static_cast<std::uint64_t>(s) * each + i;
      for (std::uint64_t k = 0; k < kLine; ++k) sums[s][k] ^= line[k];
    }
  }
  std::uint64_t total = 0;
  for (const auto& stream : sums) {
    for (const std::uint64_t sum : stream) total ^= sum;
  }
  return total;
}

std::uint64_t read_pattern(int streams, const std::uint64_t* begin, std::uint64_t words) noexcept {
  switch (streams) {
    case 1: return read_streams<1>(begin, words);
    case 2: return read_streams<2>(begin, words);
    case 4: return read_streams<4>(begin, words);
    default: return read_streams<8>(begin, words);
  }
}

LargeBlock block_of(std::uint64_t bytes) {
  try {
    return LargeBlock(bytes);  // in pages as weights have them
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::limit_exceeded, "memory probe: cannot have " + std::to_string(bytes) + " bytes");
  }
}

}  // namespace

ReadProbe::ReadProbe(std::uint64_t bytes) : block_(block_of(bytes)) {
  const auto threads = static_cast<std::uint64_t>(thread_count());
  share_ = block_.as<std::uint64_t>().size() / threads / kPageWords * kPageWords;
  sums_.resize(threads);
  std::uint64_t* const words = block_.as<std::uint64_t>().data();
  parallel_for(threads, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::fill(words + begin * share_, words + end * share_, begin + 1);
  });
  constexpr std::array kStreams = {1, 2, 4, 8};
  std::array<std::vector<double>, kStreams.size()> rates;
  for (int trial = 0; trial < kTrials; ++trial) {
    for (std::size_t i = 0; i < kStreams.size(); ++i) rates[i].push_back(read_all(kStreams[i]));
  }
  std::array<double, kStreams.size()> medians{};
  std::transform(rates.begin(), rates.end(), medians.begin(), median);
  streams_ = kStreams[static_cast<std::size_t>(std::max_element(medians.begin(), medians.end()) - medians.begin())];
}

double ReadProbe::pass() { return read_all(streams_); }

double ReadProbe::read_all(int streams) {
  const std::uint64_t* const words = block_.as<std::uint64_t>().data();
  const auto start = Clock::now();
  parallel_for(sums_.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t t = begin; t < end; ++t) sums_[t] ^= read_pattern(streams, words + t * share_, share_);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  volatile std::uint64_t used = 0;  // so that nothing of the reading can be left out
  for (const std::uint64_t sum : sums_) used = used ^ sum;
  return static_cast<double>(sums_.size() * share_ * sizeof(std::uint64_t)) / seconds;
}

}  // namespace ingot::runtime
