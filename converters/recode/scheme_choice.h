// Which form a quantized layout gives a tensor: the words of --scheme, which tensors are customarily quantized, and the
// one place that decides between keeping codes (recode) and rounding values (requantize). Quantizers that search or
// need calibration data would be asked for here too.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "converters/layout.h"
#include "converters/recode/recode.h"

namespace ingot::convert {

/// What --scheme says, or --set bits, group_size and sym. The same words for all layouts:
///   <n>bit   integers of n bits        nf4, fp4  tables of bitsandbytes      int8  bytes, one scale for a row
///   fp8      e4m3                      mxfp4, nvfp4
///   mxfp8                     nf4-dq, fp4-dq  with double quantization
/// and after it, in any order: -g<n> a scale for n inputs, -row, -tensor, -block (128 x 128), -sym, -asym.
/// w4a16, w4a16_asym and w8a16 are 4bit-g128-sym, 4bit-g128-asym and 8bit-row-sym.
struct SchemeWord {
  enum class Extent : std::uint8_t { unsaid, group, row, tensor, block };
  std::string base;       // "4bit", "nf4", ...; empty: not said
  std::uint8_t bits = 0;  // of "4bit"; 0: not said
  Extent extent = Extent::unsaid;
  std::uint32_t group = 0;  // extent group: inputs (of nf4 and fp4: elements) that share a scale
  std::optional<bool> symmetric;
  bool nested = false;  // -dq: scales are quantized themselves (of nf4 and fp4)
  bool named = false;   // the user asked for something: codes are kept in this form only
};

/// Throws OptionError, listing `bases`, for words that the layout does not have. f32, f16 and bf16 say nothing.
[[nodiscard]] SchemeWord scheme_word(const WriteOptions& options, std::span<const std::string_view> bases,
                                     std::string_view layout);
/// "f32", "f16", "bf16": matrices stay plain.
[[nodiscard]] bool is_float_word(std::string_view scheme) noexcept;

/// Tensors that only some layouts quantize.
struct Customs {
  bool embedding = false, head = false;
  bool linear_only = false;  // its loaders know no quantized embedding: --quantize of one is refused
  bool conv1d = false;       // its library quantizes GPT-2's transposed matrices as it does linear layers
};
/// Are the values of this tensor to be rounded where its codes cannot be kept? Matrices "X.weight" but embeddings,
/// heads and transposed ones (see `customs`), and routers; --keep and --quantize overrule. Without a named scheme, the
/// floats of a model that is quantized already were left so by its maker, and stay.
[[nodiscard]] bool may_round(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                             const WriteOptions& options, bool named, Customs customs = {});

/// --keep and --quantize. Throw OptionError for what is no regular expression.
[[nodiscard]] bool is_kept_by_user(const std::string& name, const WriteOptions& options);
[[nodiscard]] bool is_quantized_by_user(const std::string& name, const WriteOptions& options);

/// Why a matrix whose rows are `inputs` long cannot have groups of `group`; empty: it can.
[[nodiscard]] std::string uneven_groups(std::uint64_t inputs, std::uint64_t group);

struct Forms {
  std::vector<StoredForm> kept;         // that could hold the codes of the source, in order of preference
  std::optional<StoredForm> rounded{};  // that a quantizer makes
  std::string why_not_rounded{};        // where `rounded` is wanted, but has no form that suits the shape
  std::optional<StoredForm> stored{};   // the layout's form of `rounded`, where it is another
  /// Which library's algorithm makes `rounded` where several own its scheme.
  tensor::Tensor (*round)(const tensor::Tensor& source, const StoredForm& wanted) = requantize;
  /// What the layout demands beyond the scheme of what recode() has made of the source: why it cannot hold the tensor;
  /// empty: it can. Null: nothing.
  std::string (*problem)(const tensor::Tensor& recoded) = nullptr;
};
/// The best of: exact in a form of `kept`; class codes, where that is named or consented to; rounded, where that is
/// (exact where the values are those of the form already).
/// Otherwise what recode() says, which the caller does not carry out unless is_planned().
[[nodiscard]] Recoded keep_or_round(const tensor::Tensor& source, const Forms& forms, bool named,
                                    const WriteOptions& options);
/// Named forms are planned whatever the consent, so that the forecast shows what it would take.
[[nodiscard]] bool is_planned(const Recoded& recoded, bool named, const WriteOptions& options) noexcept;

}  // namespace ingot::convert
