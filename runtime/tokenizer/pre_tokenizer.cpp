// The steps that cut text into words. One function per step kind, one row each in kSteps.
#include "runtime/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <iterator>

#include "format/base/error.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

std::vector<ScannedChar> scanned(const std::string& text) {
  std::vector<ScannedChar> chars;
  chars.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const unicode::CodePoint point = unicode::code_point_at(text, at);
    chars.push_back({point.value, static_cast<std::uint32_t>(at)});
    at += point.length;
  }
  return chars;
}

// Cuts `piece` at the given byte offsets (ascending, without 0 and the end).
void emit(const Piece& piece, const std::vector<std::size_t>& cuts, std::vector<Piece>& out) {
  std::size_t begin = 0;
  for (const std::size_t cut : cuts) {
    out.push_back({piece.text.substr(begin, cut - begin), piece.at_start && begin == 0});
    begin = cut;
  }
  if (begin < piece.text.size()) out.push_back({piece.text.substr(begin), piece.at_start && begin == 0});
}

void step_regex(const tensor::PreTokenizer& step, Piece piece, std::vector<Piece>& out) {
  if (step.add_prefix_space && !piece.text.starts_with(' ')) piece.text.insert(0, " ");
  const std::vector<ScannedChar> chars = scanned(piece.text);
  const WordScanner scanner = word_scanner(step.pattern);
  std::vector<std::size_t> cuts;
  for (std::size_t at = 0; at < chars.size();) {
    at = scanner(chars, at);
    if (at < chars.size()) cuts.push_back(chars[at].offset);
  }
  emit(piece, cuts, out);
}

void step_digits(const tensor::PreTokenizer& step, Piece piece, std::vector<Piece>& out) {
  const std::vector<ScannedChar> chars = scanned(piece.text);
  std::vector<std::size_t> cuts;
  for (std::size_t i = 1; i < chars.size(); ++i) {
    const bool before = unicode::is_number(chars[i - 1].code), here = unicode::is_number(chars[i].code);
    if (before != here || (here && step.individual_digits)) cuts.push_back(chars[i].offset);
  }
  emit(piece, cuts, out);
}

void step_metaspace(const tensor::PreTokenizer& step, Piece piece, std::vector<Piece>& out) {
  std::string text;
  for (const char c : piece.text) c == ' ' ? text += kMetaspace : text += c;
  const bool prepend = step.prepend_scheme == "always" || (step.prepend_scheme == "first" && piece.at_start);
  if (prepend && !text.starts_with(kMetaspace)) text.insert(0, kMetaspace);
  piece.text = std::move(text);
  std::vector<std::size_t> cuts;
  if (step.pattern == "split") {
    for (std::size_t at = piece.text.find(kMetaspace, 1); at != std::string::npos;
         at = piece.text.find(kMetaspace, at + 1))
      cuts.push_back(at);
  }
  emit(piece, cuts, out);
}

void step_bytes_only(const tensor::PreTokenizer& step, Piece piece, std::vector<Piece>& out) {
  if (step.add_prefix_space && !piece.text.starts_with(' ')) piece.text.insert(0, " ");
  out.push_back(std::move(piece));
}

void step_split_space(const tensor::PreTokenizer&, Piece piece, std::vector<Piece>& out) {
  std::vector<std::size_t> cuts;  // a space ends the word before it
  for (std::size_t at = piece.text.find(' '); at != std::string::npos && at + 1 < piece.text.size();
       at = piece.text.find(' ', at + 1)) {
    cuts.push_back(at + 1);
  }
  emit(piece, cuts, out);
}

struct Step {
  std::string_view kind;
  void (*apply)(const tensor::PreTokenizer& step, Piece piece, std::vector<Piece>& out);
};
constexpr Step kSteps[] = {
    {"regex", step_regex},           {"digits", step_digits},           {"metaspace", step_metaspace},
    {"bytes_only", step_bytes_only}, {"split_space", step_split_space},
};

const Step* find_step(std::string_view kind) noexcept {
  const auto row = std::find_if(std::begin(kSteps), std::end(kSteps), [&](const Step& s) { return s.kind == kind; });
  return row == std::end(kSteps) ? nullptr : row;
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<tensor::PreTokenizer>& steps) : steps_(steps) {
  for (const tensor::PreTokenizer& step : steps_) {
    if (find_step(step.kind) == nullptr) {
      throw Error(ErrorKind::unsupported, "tokenizer: pre-tokenizer \"" + step.kind + "\" is not supported");
    }
    if (step.kind == "regex" && word_scanner(step.pattern) == nullptr) {
      const std::string& shown = step.source_pattern.empty() ? step.pattern : step.source_pattern;
      throw Error(ErrorKind::unsupported,
                  "tokenizer: the pre-tokenizer pattern " + shown + " is not among the supported families");
    }
  }
}

std::vector<Piece> PreTokenizer::split(std::string fragment, bool at_start) const {
  std::vector<Piece> pieces;
  if (fragment.empty()) return pieces;
  pieces.push_back({std::move(fragment), at_start});
  for (const tensor::PreTokenizer& step : steps_) {
    std::vector<Piece> next;
    for (Piece& piece : pieces) find_step(step.kind)->apply(step, std::move(piece), next);
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace ingot::runtime
