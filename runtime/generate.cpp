// The loop: read the prompt, draw, stream, stop.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "runtime/distribution.h"
#include "runtime/runtime.h"

namespace ingot::runtime {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Holds back text that may be the beginning of a stop string.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  /// Text that may be shown now. Sets stopped() when a stop string was found; the text ends before it.
  std::string push(std::string_view piece) {
    held_ += piece;
    std::size_t found = std::string::npos;
    for (const std::string& stop : stops_) {
      if (!stop.empty()) found = std::min(found, held_.find(stop));
    }
    if (found != std::string::npos) {
      stopped_ = true;
      held_.resize(found);
      return release(held_.size());
    }
    return release(held_.size() - possible_start());
  }
  std::string flush() { return release(held_.size()); }
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }

 private:
  // Length of the longest end of the held text that begins a stop string.
  [[nodiscard]] std::size_t possible_start() const noexcept {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (std::size_t size = std::min(stop.empty() ? 0 : stop.size() - 1, held_.size()); size > longest; --size) {
        if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) longest = size;
      }
    }
    return longest;
  }
  std::string release(std::size_t size) {
    std::string text = held_.substr(0, size);
    held_.erase(0, size);
    return text;
  }

  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

bool ends_generation(const tensor::TokenizerSpec& spec, std::uint32_t token) {
  if (spec.eos && token == *spec.eos) return true;
  return std::find(spec.end_of_generation.begin(), spec.end_of_generation.end(), token) != spec.end_of_generation.end();
}

}  // namespace

GenerateResult generate(Session& session, const Tokenizer& tokenizer, std::span<const std::uint32_t> prompt,
                        const GenerateOptions& options) {
  GenerateResult result;
  Sampler sampler(options.sampling);
  Utf8Streamer streamer;
  StopFilter filter(options.stop);
  const auto show = [&](const std::string& text) {  // false: the listener has had enough
    result.text += text;
    return text.empty() || !options.on_text || options.on_text(text);
  };

  const auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = session.forward(prompt);
  result.prompt_seconds = seconds_since(start);
  if (options.on_prompt_read) options.on_prompt_read();

  const auto decode_start = std::chrono::steady_clock::now();
  result.stop_reason = "length";
  while (result.tokens.size() < options.max_tokens) {
    // Padding rows of the embedding are no tokens.
    const std::span<const float> of_tokens = logits.first(std::min(logits.size(), tokenizer.spec().tokens.size()));
    const std::uint32_t token = sampler.sample(of_tokens, session.tokens());
    if (!std::isfinite(of_tokens[token])) throw not_finite_numbers();
    if (!options.ignore_end && ends_generation(tokenizer.spec(), token)) {
      result.stop_reason = "end";
      break;
    }
    result.tokens.push_back(token);
    const bool wanted = show(filter.push(streamer.push(tokenizer.token_bytes(token))));
    if (filter.stopped() || !wanted) {
      result.stop_reason = filter.stopped() ? "stop" : "interrupted";
      break;
    }
    if (result.tokens.size() == options.max_tokens) break;
    if (session.position() == session.context()) {
      result.stop_reason = "context";
      break;
    }
    logits = session.forward(std::span(&token, 1));
    ++result.decode_steps;
  }
  if (result.stop_reason != "stop" && result.stop_reason != "interrupted") {
    (void)show(filter.push(streamer.flush()) + filter.flush());
  }
  result.decode_seconds = seconds_since(decode_start);
  return result;
}

}  // namespace ingot::runtime
