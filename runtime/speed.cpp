#include "runtime/speed.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <map>

#include "format/base/parallel.h"
#include "kernels/registry.h"
#include "runtime/matrix.h"
#include "runtime/statistics.h"

namespace ingot::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

constexpr std::uint64_t kTokensPerPass = 4;  // of the probe: as often as it disturbs little

std::uint64_t number_after(const std::string& text, std::string_view label) {
  const std::size_t at = text.find(label);
  if (at == std::string::npos) return 0;
  const std::size_t digits = text.find_first_of("0123456789", at + label.size());
  std::uint64_t value = 0;
  if (digits != std::string::npos) std::from_chars(text.data() + digits, text.data() + text.size(), value);
  return value;
}

using TensorList = std::vector<const tensor::Tensor*>;

// The matrices of each scheme, up to `bytes_each` but at least one.
std::map<std::string, TensorList> tensors_by_scheme(const tensor::Model& model, std::uint64_t bytes_each) {
  std::map<std::string, TensorList> by_scheme;
  std::map<std::string, std::uint64_t> bytes;
  for (const tensor::Tensor& tensor : model.tensors) {
    if (tensor.shape.size() != 2 || tensor.shape[0] < kBlockRows) continue;
    const std::string scheme = tensor::describe(tensor.scheme);
    std::uint64_t& sum = bytes[scheme];
    if (sum != 0 && sum + tensor.stored_bytes() > bytes_each) continue;
    sum += tensor.stored_bytes();
    by_scheme[scheme].push_back(&tensor);
  }
  return by_scheme;
}

std::vector<const kernels::KernelTable*> selected_and_lesser_kernels() {
  std::vector<const kernels::KernelTable*> tables;
  for (const kernels::Variant& variant : kernels::variants()) {
    const kernels::KernelTable* table = kernels::find(variant.name);
    if (table == &kernels::best() || (table != nullptr && !tables.empty())) tables.push_back(table);
  }
  return tables;
}

// Multiplies the matrices of one scheme with the kernels of one set.
class SchemeTimer {
 public:
  SchemeTimer(const TensorList& tensors, Numerics numerics, const kernels::KernelTable& kernels)
      : name_(kernels.name), scratch_(static_cast<std::size_t>(thread_count())) {
    for (const tensor::Tensor* tensor : tensors) {
      const Matrix& matrix = matrices_.emplace_back(*tensor, Matrix::RowOrder::stored, numerics, kernels);
      for (Scratch& one : scratch_) matrix.reserve(one);
      if (elements(matrix) < elements(matrices_[smallest_])) smallest_ = matrices_.size() - 1;
      widest_ = std::max(widest_, matrix.cols());
      tallest_ = std::max(tallest_, matrix.rows());
    }
    input_.assign(kMaxVectors * widest_, 0.5f);
    out_.resize(kMaxVectors * tallest_);
  }

  SchemeSpeed measure(const std::string& scheme, int rounds, ReadProbe& probe) {
    SchemeSpeed speed = {.scheme = scheme, .kernels = name_};
    for (const Matrix& matrix : matrices_) speed.bytes += matrix.stored_bytes();
    std::vector<double> readings;
    const auto read = [&] { readings.push_back(probe.pass()); };
    speed.seconds = median_seconds(rounds, read, [this] {
      for (const Matrix& matrix : matrices_) multiply_with(matrix, 1);
    });
    speed.reading = median(std::move(readings));
    const Matrix& smallest = matrices_[smallest_];
    const double share = static_cast<double>(smallest.stored_bytes()) / static_cast<double>(speed.bytes);
    constexpr double kTooSlow = 5;  // seconds that vectors one by one would take
    if (speed.seconds * share * static_cast<double>(kMaxVectors) > kTooSlow) return speed;
    speed.prompt_operations = 2 * kMaxVectors * elements(smallest);
    speed.prompt_seconds = median_seconds(
        rounds, [] {}, [&] { multiply_with(smallest, kMaxVectors); });
    return speed;
  }

 private:
  static std::uint64_t elements(const Matrix& matrix) noexcept { return matrix.rows() * matrix.cols(); }

  void multiply_with(const Matrix& matrix, std::uint64_t vectors) {
    const Product product = {&matrix, input_.data(), matrix.cols(), out_.data(), matrix.rows(), nullptr};
    multiply({&product, 1}, vectors, scratch_);
  }

  template <typename Before, typename Work>
  static double median_seconds(int rounds, const Before& before, const Work& work) {
    constexpr int kRepeats = 3;    // in a round
    constexpr double kSlow = 0.5;  // seconds: a product that takes as long is measured well by one repeat
    std::vector<double> seconds;
    do {
      before();
      const auto start = Clock::now();
      work();
      seconds.push_back(seconds_since(start));
    } while (seconds.back() < kSlow && seconds.size() < static_cast<std::size_t>(rounds) * kRepeats);
    return median(std::move(seconds));
  }

  std::string_view name_;
  std::vector<Matrix> matrices_;
  std::vector<Scratch> scratch_;
  std::vector<float> input_, out_;
  std::uint64_t widest_ = 0, tallest_ = 0;
  std::size_t smallest_ = 0;
};

}  // namespace

RoundSpeed time_round(Session& session, std::uint64_t prompt_tokens, std::uint64_t new_tokens, ReadProbe& probe,
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
  std::vector<double> seconds, readings;
  for (std::uint64_t i = 0; i < new_tokens && (seconds.empty() || !stop()); ++i) {
    if (i % kTokensPerPass == 0) readings.push_back(probe.pass());
    const auto start = Clock::now();
    (void)session.forward(std::span(&kToken, 1));
    seconds.push_back(seconds_since(start));
  }
  result.token_seconds = median(std::move(seconds));
  result.reading = median(std::move(readings));
  return result;
}

std::vector<SchemeSpeed> time_schemes(const tensor::Model& model, Numerics numerics, std::uint64_t bytes_each,
                                      int rounds, ReadProbe& probe, const std::function<bool()>& stop) {
  std::vector<SchemeSpeed> speeds;
  for (const auto& [scheme, tensors] : tensors_by_scheme(model, bytes_each)) {
    for (const kernels::KernelTable* kernels : selected_and_lesser_kernels()) {
      if (stop()) return speeds;
      speeds.push_back(SchemeTimer(tensors, numerics, *kernels).measure(scheme, rounds, probe));
    }
  }
  return speeds;
}

Memory memory_now() {
  std::ifstream file("/proc/self/status");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  constexpr std::uint64_t kKibi = 1024;
  return {number_after(text, "VmRSS:") * kKibi, number_after(text, "RssAnon:") * kKibi};
}

}  // namespace ingot::runtime
