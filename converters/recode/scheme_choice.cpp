#include "converters/recode/scheme_choice.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <limits>

#include "converters/equal_values.h"
#include "converters/hf_names.h"
#include "converters/name_pattern.h"
#include "converters/option_error.h"
#include "format/base/checked_math.h"
#include "format/base/error.h"
#include "format/base/parallel.h"
#include "format/tensor/decode.h"

namespace ingot::convert {
namespace {

using tensor::Tensor;
using Extent = SchemeWord::Extent;

constexpr std::uint64_t kPieceElems = std::uint64_t{1} << 16;
constexpr std::array<std::string_view, 3> kFloatWords = {"f32", "f16", "bf16"};
/// llm-compressor's names.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kAliases = {
    {{"w4a16", "4bit-g128-sym"}, {"w4a16_asym", "4bit-g128-asym"}, {"w8a16", "8bit-row-sym"}}};
constexpr std::array<std::string_view, 4> kRouters = {".gate.weight", ".router.weight", ".shared_expert_gate.weight",
                                                      ".router.classifier.weight"};

std::string listed(std::span<const std::string_view> bases) {
  std::string text = "f32, f16, bf16";
  for (const std::string_view base : bases) text += ", " + std::string(base);
  return text;
}

[[noreturn]] void refuse(const std::string& what, std::span<const std::string_view> bases, std::string_view layout) {
  throw OptionError(what + ": the " + std::string(layout) + " layout writes " + listed(bases) +
                    (bases.empty() ? "" : " (and e.g. " + std::string(bases.front()) + "-g128)"));
}

[[noreturn]] void refuse_suffix(std::string_view text, std::string_view why) {
  throw OptionError("--scheme " + std::string(text) + ": " + std::string(why));
}

std::optional<std::uint32_t> whole_number(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// `suffix` is part of `text`. False for what is none; throws OptionError for one that repeats or contradicts another.
bool read_suffix(std::string_view text, std::string_view suffix, SchemeWord& word) {
  if (suffix == "sym" || suffix == "asym") {
    if (word.symmetric) refuse_suffix(text, "-sym or -asym, once");
    word.symmetric = suffix == "sym";
    return true;
  }
  if (suffix == "dq") {
    word.nested = true;
    return word.base == "nf4" || word.base == "fp4";
  }
  constexpr std::array<std::pair<std::string_view, Extent>, 3> kExtents = {
      {{"row", Extent::row}, {"tensor", Extent::tensor}, {"block", Extent::block}}};
  const auto named =
      std::find_if(kExtents.begin(), kExtents.end(), [&](const auto& row) { return row.first == suffix; });
  const auto size = suffix.starts_with('g') ? whole_number(suffix.substr(1)) : std::nullopt;
  if (named == kExtents.end() && !size) return false;
  if (size && *size == 0) refuse_suffix(text, "a scale is for one input at least (-row: for all of a row)");
  if (word.extent != Extent::unsaid) refuse_suffix(text, "one of -gN, -row, -tensor and -block, once");
  word.extent = size ? Extent::group : named->second;
  word.group = size.value_or(0);
  return true;
}

/// False for a word that is none.
bool read_word(std::string_view text, SchemeWord& word) {
  for (const auto& [alias, meaning] : kAliases)
    if (text == alias) text = meaning;
  std::size_t dash = text.find('-');
  word.base = text.substr(0, dash);
  if (word.base.ends_with("bit")) {
    const auto bits = whole_number(std::string_view(word.base).substr(0, word.base.size() - 3));
    word.bits = bits && *bits <= 8 ? static_cast<std::uint8_t>(*bits) : 0;
    if (word.bits == 0) return false;
  }
  while (dash != std::string_view::npos) {
    const std::size_t next = text.find('-', dash + 1);
    if (!read_suffix(text, text.substr(dash + 1, next == std::string_view::npos ? next : next - dash - 1), word))
      return false;
    dash = next;
  }
  return true;
}

/// --set bits, group_size and sym, where the layout has these settings (unknown ones were refused before).
void read_settings(const WriteOptions& options, std::span<const std::string_view> bases, std::string_view layout,
                   SchemeWord& word) {
  const auto look = [&](const char* key) {
    const auto found = options.settings.find(key);
    return found == options.settings.end() ? std::nullopt : std::optional(found->second);
  };
  if (const auto bits = look("bits")) {
    const std::string base = *bits + "bit";
    if (!word.base.empty() && word.base != base)
      throw OptionError("--set bits=" + *bits + " and --scheme " + options.scheme + " disagree");
    if (!read_word(base, word)) refuse("--set bits=" + *bits, bases, layout);
  }
  if (const auto size = look("group_size")) {
    const auto number = whole_number(*size);
    if (*size != "-1" && (!number || *number == 0))
      throw OptionError("--set group_size=" + *size + ": expected -1 or a number of inputs");
    const Extent extent = *size == "-1" ? Extent::row : Extent::group;
    if (word.extent != Extent::unsaid && (word.extent != extent || word.group != number.value_or(0)))
      throw OptionError("--set group_size=" + *size + " and --scheme " + options.scheme + " disagree");
    word.extent = extent;
    word.group = number.value_or(0);
  }
  if (const auto sym = look("sym")) {
    if (*sym != "true" && *sym != "false") throw OptionError("--set sym=" + *sym + ": expected true or false");
    const bool symmetric = *sym == "true";
    if (word.symmetric.value_or(symmetric) != symmetric)
      throw OptionError("--set sym=" + *sym + " and --scheme " + options.scheme + " disagree");
    word.symmetric = symmetric;
  }
}

bool has_codes(const Tensor& tensor) {
  return tensor.scheme.codes.kind != tensor::CodeKind::opaque && !tensor.scheme.is_plain();
}

bool is_quantized_model(const tensor::Model& model) {
  return std::any_of(model.tensors.begin(), model.tensors.end(), has_codes);
}

bool is_embedding(const std::string& name, const tensor::Model& model) {
  return name == hf_embedding_name(model.config.architecture) || name.find("embed") != std::string::npos ||
         name.ends_with("wte.weight") || name.ends_with("wpe.weight");
}

bool all_finite(const Tensor& source) {
  std::atomic<bool> finite{true};
  tensor::ValueReader reader(source);
  const std::uint64_t elements = source.elements();
  std::vector<std::vector<float>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(elements, kPieceElems), 4, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::vector<float>& values = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = begin; piece < end && finite.load(std::memory_order_relaxed); ++piece) {
      values.resize(std::min(kPieceElems, elements - piece * kPieceElems));
      reader.read(piece * kPieceElems, values, worker);
      bool all = true;
      for (const float value : values) all &= std::fabs(value) <= std::numeric_limits<float>::max();
      if (!all) finite = false;
    }
  });
  return finite;
}

/// As recode_to_first(), of forms that the layout can hold.
Recoded best_kept(const Tensor& source, const Forms& forms) {
  if (forms.problem == nullptr) return recode_to_first(source, forms.kept);
  Recoded best;
  for (const StoredForm& form : forms.kept) {
    Recoded result = recode(source, form);
    std::string problem = result.proof == ProofClass::refused ? std::string() : forms.problem(result.tensor);
    if (!problem.empty()) {
      result = {};
      result.reason = std::move(problem);
    }
    if (result.proof == ProofClass::exact) return result;
    if (&form == &forms.kept.front() || result.proof < best.proof) best = std::move(result);
  }
  return best;
}

Recoded rounded(const Tensor& source, const Forms& forms, const Recoded& kept) {
  Recoded result;
  if (!all_finite(source)) {
    result.reason = "infinities or NaN cannot be rounded to " + tensor::describe(forms.rounded->scheme);
    return result;
  }
  result.tensor = forms.round(source, *forms.rounded);
  if (forms.stored) {
    Recoded stored = recode(result.tensor, *forms.stored);
    if (stored.proof > ProofClass::codes) {
      result.reason = std::move(stored.reason);
      return result;
    }
    result.tensor = std::move(stored.tensor);
  }
  if (have_equal_values(source, result.tensor)) {
    result.proof = ProofClass::exact;
    return result;
  }
  result.proof = ProofClass::requantized;
  result.reason = "values are rounded to " + tensor::describe(forms.rounded->scheme);
  if (has_codes(source) && !kept.reason.empty()) result.reason += " (codes cannot be kept: " + kept.reason + ")";
  return result;
}

}  // namespace

bool is_float_word(std::string_view scheme) noexcept {
  return std::find(kFloatWords.begin(), kFloatWords.end(), scheme) != kFloatWords.end();
}

SchemeWord scheme_word(const WriteOptions& options, std::span<const std::string_view> bases, std::string_view layout) {
  SchemeWord word;
  if (is_float_word(options.scheme)) return word;
  if (!options.scheme.empty() && !read_word(options.scheme, word)) refuse("--scheme " + options.scheme, bases, layout);
  read_settings(options, bases, layout, word);
  if (!word.base.empty() && std::find(bases.begin(), bases.end(), word.base) == bases.end())
    refuse("--scheme " + (options.scheme.empty() ? word.base : options.scheme), bases, layout);
  word.named = !word.base.empty() || word.extent != Extent::unsaid || word.symmetric.has_value();
  return word;
}

bool is_kept_by_user(const std::string& name, const WriteOptions& options) {
  return name_matches(name, options.keep, "--keep");
}
bool is_quantized_by_user(const std::string& name, const WriteOptions& options) {
  return name_matches(name, options.quantize, "--quantize");
}

bool may_round(const Tensor& source, const std::string& file_name, const tensor::Model& model,
               const WriteOptions& options, bool named, Customs customs) {
  if (!file_name.ends_with(".weight") || source.shape.size() != 2 || source.elements() == 0) return false;
  if (source.scheme.codes.kind == tensor::CodeKind::opaque) return false;
  if (!customs.conv1d && is_hf_conv1d(source.name, model.config.architecture)) return false;
  if (source.scheme.is_plain() && !tensor::info(source.scheme.codes.type).is_float) return false;
  if (is_kept_by_user(file_name, options)) return false;
  if (is_quantized_by_user(file_name, options)) {
    if (customs.linear_only && is_embedding(source.name, model))
      throw Error(ErrorKind::unsupported,
                  "--quantize: " + file_name + ": the layout holds quantized linear layers, not embeddings");
    return true;
  }
  if (source.scheme.is_plain() && !named && is_quantized_model(model)) return false;
  if (is_embedding(source.name, model)) return customs.embedding;
  if (source.name == kHfHeadName) return customs.head;
  return std::none_of(kRouters.begin(), kRouters.end(),
                      [&](const std::string_view router) { return file_name.ends_with(router); });
}

std::string uneven_groups(std::uint64_t inputs, std::uint64_t group) {
  if (inputs % group == 0) return {};
  return "rows of " + std::to_string(inputs) + " are not cut into groups of " + std::to_string(group);
}

Recoded keep_or_round(const Tensor& source, const Forms& forms, bool named, const WriteOptions& options) {
  Recoded kept;
  if (has_codes(source) && !forms.kept.empty()) kept = best_kept(source, forms);
  if (kept.proof == ProofClass::exact) return kept;
  if (kept.proof == ProofClass::codes && (named || options.allow >= ProofClass::codes)) return kept;
  if (kept.reason.empty()) kept.reason = forms.why_not_rounded;
  if (!forms.rounded || (!named && options.allow < ProofClass::requantized)) return kept;
  return rounded(source, forms, kept);
}

bool is_planned(const Recoded& recoded, bool named, const WriteOptions& options) noexcept {
  return recoded.proof != ProofClass::refused && (named || recoded.proof <= options.allow);
}

}  // namespace ingot::convert
