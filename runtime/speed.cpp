#include "runtime/speed.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <new>

#include "format/base/error.h"
#include "format/base/parallel.h"
#include "runtime/matrix.h"

namespace ingot::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

constexpr int kProbeRounds = 5;
constexpr std::uint64_t kPage = 4096;

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

std::uint64_t number_after(const std::string& text, std::string_view label) {
  const std::size_t at = text.find(label);
  if (at == std::string::npos) return 0;
  const std::size_t digits = text.find_first_of("0123456789", at + label.size());
  std::uint64_t value = 0;
  if (digits != std::string::npos) std::from_chars(text.data() + digits, text.data() + text.size(), value);
  return value;
}

}  // namespace

ReadProbe probe_reading(std::uint64_t bytes) {
  const auto threads = static_cast<std::uint64_t>(thread_count());
  const std::uint64_t words = bytes / sizeof(std::uint64_t);
  std::unique_ptr<std::uint64_t[]> memory;
  try {
    memory = std::make_unique_for_overwrite<std::uint64_t[]>(words);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::limit_exceeded, "memory probe: cannot have " + std::to_string(bytes) + " bytes");
  }
  const std::uint64_t grain = words / threads / kPage * kPage;
  parallel_for(threads, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::fill(memory.get() + begin * grain, memory.get() + end * grain, begin + 1);
  });
  ReadProbe best;
  std::vector<std::uint64_t> sums(threads);
  for (int round = 0; round < kProbeRounds; ++round) {
    for (const int streams : {1, 2, 4, 8}) {
      const auto start = Clock::now();
      parallel_for(threads, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
        for (std::uint64_t t = begin; t < end; ++t) sums[t] ^= read_pattern(streams, memory.get() + t * grain, grain);
      });
      const double rate = static_cast<double>(threads * grain * sizeof(std::uint64_t)) / seconds_since(start);
      if (rate > best.bytes_per_second) best = {rate, streams};
    }
  }
  volatile std::uint64_t used = 0;  // so that nothing of the reading can be left out
  for (const std::uint64_t sum : sums) used = used ^ sum;
  return best;
}

RoundSpeed time_round(Session& session, std::uint64_t prompt_tokens, std::uint64_t new_tokens,
                      const std::function<bool()>& stop) {
  constexpr std::uint32_t kToken = 5;  // which one does not matter
  RoundSpeed result;
  session.reset();
  const std::vector<std::uint32_t> prompt(prompt_tokens, kToken);
  if (prompt_tokens > 0) {
    const auto start = Clock::now();
    (void)session.forward(prompt);
    result.prompt_seconds = seconds_since(start);
  }
  std::vector<double> seconds;
  for (std::uint64_t i = 0; i < new_tokens && (seconds.empty() || !stop()); ++i) {
    const auto start = Clock::now();
    (void)session.forward(std::span(&kToken, 1));
    seconds.push_back(seconds_since(start));
  }
  result.token_seconds = median(std::move(seconds));
  return result;
}

std::vector<SchemeSpeed> time_schemes(const tensor::Model& model, Numerics numerics, std::uint64_t bytes_each,
                                      int rounds) {
  std::map<std::string, std::vector<Matrix>> by_scheme;
  std::map<std::string, std::uint64_t> bytes;
  std::uint64_t widest = 0, tallest = 0;
  std::vector<Scratch> scratch(static_cast<std::size_t>(thread_count()));
  for (const tensor::Tensor& tensor : model.tensors) {
    const std::string scheme = tensor::describe(tensor.scheme);
    if (tensor.shape.size() != 2 || tensor.shape[0] < kBlockRows) continue;
    if (bytes[scheme] != 0 && bytes[scheme] + tensor.stored_bytes() > bytes_each) continue;
    const Matrix& matrix = by_scheme[scheme].emplace_back(tensor, Matrix::RowOrder::stored, numerics);
    bytes[scheme] += matrix.stored_bytes();
    for (Scratch& one : scratch) matrix.reserve(one);
    widest = std::max(widest, matrix.cols());
    tallest = std::max(tallest, matrix.rows());
  }
  const std::vector<float> input(widest, 0.5f);
  std::vector<float> out(tallest);
  std::vector<SchemeSpeed> speeds;
  for (const auto& [scheme, matrices] : by_scheme) {
    SchemeSpeed speed = {scheme, bytes[scheme], 0};
    for (int round = 0; round < rounds; ++round) {
      const auto start = Clock::now();
      for (const Matrix& matrix : matrices) {
        const Product product = {&matrix, input.data(), matrix.cols(), out.data(), matrix.rows(), nullptr};
        multiply({&product, 1}, 1, scratch);
      }
      const double seconds = seconds_since(start);
      if (round == 0 || seconds < speed.seconds) speed.seconds = seconds;
    }
    speeds.push_back(std::move(speed));
  }
  return speeds;
}

Memory memory_now() {
  std::ifstream file("/proc/self/status");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  constexpr std::uint64_t kKibi = 1024;
  return {number_after(text, "VmRSS:") * kKibi, number_after(text, "RssAnon:") * kKibi};
}

double median(std::vector<double> values) noexcept {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace ingot::runtime
