// Model -> tokens. The public header of runtime/: load any neutral model, tokenize, generate. Never includes
// converters/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor/model.h"

namespace ingot::runtime {

/// Text <-> ids for one tokenizer. Immutable after construction, thread-safe.
class Tokenizer {
 public:
  /// Throws unsupported naming the part (normalizer, pre-tokenizer pattern) that this runtime cannot reproduce exactly.
  explicit Tokenizer(const tensor::TokenizerSpec& spec);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  /// `add_special`: prepend/append bos/eos as the tokenizer is configured. `parse_special`: recognise control tokens in
  /// the text.
  [[nodiscard]] std::vector<std::uint32_t> encode(std::string_view text, bool add_special, bool parse_special) const;
  /// Raw bytes of one token (may be part of a UTF-8 character). Special tokens give their text only with
  /// `show_special`.
  [[nodiscard]] std::string token_bytes(std::uint32_t id, bool show_special = false) const;
  [[nodiscard]] std::string decode(std::span<const std::uint32_t> ids, bool show_special = false) const;
  [[nodiscard]] const tensor::TokenizerSpec& spec() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The model's own. Throws unsupported naming the model when it has none, or none that this runtime can execute.
[[nodiscard]] Tokenizer tokenizer_of(const tensor::Model& model);

/// Joins token bytes into valid UTF-8 pieces for streaming: holds back incomplete characters, replaces invalid bytes by
/// U+FFFD.
class Utf8Streamer {
 public:
  [[nodiscard]] std::string push(std::string_view bytes);
  [[nodiscard]] std::string flush();

 private:
  std::string pending_;
};

struct Message {
  std::string role, content;
};
/// Renders the model's chat template (the common families; throws unsupported quoting the construct otherwise).
[[nodiscard]] std::string render_chat(const tensor::TokenizerSpec& spec, std::span<const Message> messages,
                                      bool add_generation_prompt);
/// That of a model with a tokenizer; errors name the model.
[[nodiscard]] std::string render_chat(const tensor::Model& model, std::span<const Message> messages,
                                      bool add_generation_prompt);

/// How products with integer codes are computed: from exactly decoded weights in binary32, the yardstick; or from the
/// codes and inputs rounded to int8, each 16 to 128 of them with their own scale, where a kernel exists (faster);
/// entries of tables (NF4, FP4) are then rounded to 1/254 of the greatest one.
enum class Numerics : std::uint8_t { exact, fast };

/// How keys and values are kept: binary32; binary16; int8 with a binary32 scale for each head and position.
enum class KvType : std::uint8_t { f32, f16, q8 };
[[nodiscard]] std::string_view name(KvType type) noexcept;
[[nodiscard]] std::optional<KvType> kv_type(std::string_view name) noexcept;  // empty: no such name
[[nodiscard]] std::span<const std::string_view> kv_names() noexcept;

class KvCache;  // runtime/attention.h

/// A loaded model with its key/value cache for one sequence. Not thread-safe; uses all threads inside.
class Session {
 public:
  /// `context`: positions to reserve (0: the smaller of the model's limit and 4096). Throws Error when a tensor is
  /// missing, has the wrong shape, or the architecture is unknown. Borrows the model. `kv`: f32 for exact numerics and
  /// f16 for fast ones unless it is given.
  Session(const tensor::Model& model, std::uint64_t context, Numerics numerics = Numerics::exact,
          std::optional<KvType> kv = std::nullopt);
  ~Session();

  /// Appends tokens at the current position; returns the logits of the last one (vocab_size), valid until the next
  /// call. Throws limit_exceeded when the context is full.
  std::span<const float> forward(std::span<const std::uint32_t> tokens);
  /// Reads tokens likewise and hands out the logits after each of them from index `first` on, some at a time: those
  /// after tokens[index], tokens[index + 1], ... as the rows of `logits` (n, vocab_size).
  void score(std::span<const std::uint32_t> tokens, std::uint64_t first,
             const std::function<void(std::uint64_t index, std::span<const float> logits)>& visit);
  [[nodiscard]] std::uint64_t vocab_size() const noexcept;
  [[nodiscard]] std::uint64_t position() const noexcept;
  [[nodiscard]] std::span<const std::uint32_t> tokens() const noexcept;  // read so far, valid until the next call
  [[nodiscard]] std::uint64_t context() const noexcept;
  /// Of weights that kernels cannot read where the source has them, and what loading all took.
  [[nodiscard]] std::uint64_t copied_bytes() const noexcept;
  [[nodiscard]] double load_seconds() const noexcept;
  [[nodiscard]] Numerics numerics() const noexcept;
  [[nodiscard]] KvType kv() const noexcept;
  [[nodiscard]] std::uint64_t kv_bytes() const noexcept;  // reserved for the whole context
  void reset() noexcept;
  /// For those who keep keys and values (runtime/prompt_cache.h). resume(): counts `tokens` as read, whose keys and
  /// values the caller puts into cache(); they were computed in a sequence of `computed_length` tokens, and are to go
  /// on in one of `length`. False, and nothing counts as read, when the model's positions do not allow that.
  [[nodiscard]] KvCache& cache() noexcept;
  [[nodiscard]] bool resume(std::span<const std::uint32_t> tokens, std::uint64_t computed_length, std::uint64_t length);
  [[nodiscard]] std::uint64_t weight_bytes_per_token() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct Sampling {
  double temperature = 0;   // 0: greedy
  std::uint32_t top_k = 0;  // 0: off
  double top_p = 1, min_p = 0;
  /// Logits of tokens that came before are divided by it where positive, else multiplied, as in transformers; 1: off.
  double repetition_penalty = 1;
  std::uint64_t seed = 0;
};

/// Draws token ids; deterministic for a seed.
class Sampler {
 public:
  explicit Sampler(const Sampling& options) noexcept;
  /// `before`: all tokens of the text so far, for the repetition penalty.
  [[nodiscard]] std::uint32_t sample(std::span<const float> logits, std::span<const std::uint32_t> before = {});

 private:
  [[nodiscard]] std::uint32_t draw(std::span<const float> logits);

  Sampling options_;
  std::uint64_t state_;
  std::vector<float> penalized_;  // of one call
};

struct GenerateOptions {
  Sampling sampling;
  std::uint64_t max_tokens = 128;
  bool ignore_end = false;                              // keep going past an end-of-generation token
  std::vector<std::string> stop;                        // stop strings
  std::function<bool(std::string_view piece)> on_text;  // valid UTF-8 pieces as they come; false stops
  std::function<void()> on_prompt_read;                 // the session holds the prompt and nothing after it
};
struct GenerateResult {
  std::vector<std::uint32_t> tokens;
  std::string text;
  std::string stop_reason;  // "end", "length", "context", "stop", "interrupted"
  double prompt_seconds = 0, decode_seconds = 0;
  std::uint64_t decode_steps = 0;  // passes in decode_seconds: the first token comes of the prompt's pass
};
[[nodiscard]] GenerateResult generate(Session& session, const Tokenizer& tokenizer,
                                      std::span<const std::uint32_t> prompt, const GenerateOptions& options);

/// Architectures this build runs, for --help and README.
[[nodiscard]] std::vector<std::string_view> architectures();

}  // namespace ingot::runtime
