#include "converters/hf/model_card.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "format/base/error.h"
#include "format/base/json.h"
#include "format/base/utf8.h"

namespace ingot::convert {
namespace {

struct Word {
  std::string_view card, metadata;
};
constexpr Word kWords[] = {{"name", "general.name"},
                           {"author", "general.author"},
                           {"version", "general.version"},
                           {"organization", "general.organization"},
                           {"description", "general.description"},
                           {"finetune", "general.finetune"},
                           {"basename", "general.basename"},
                           {"size_label", "general.size_label"},
                           {"license", "general.license"},
                           {"license_name", "general.license.name"},
                           {"license_link", "general.license.link"},
                           {"url", "general.source.url"},
                           {"doi", "general.source.doi"},
                           {"uuid", "general.source.uuid"},
                           {"repo_url", "general.source.repo_url"}};
constexpr std::string_view kFence = "---";
constexpr std::size_t kMostLines = 1000;                // of a head
constexpr std::size_t kMostText = 4096;                 // bytes of a fact
constexpr std::size_t kMostQuoted = 6 * kMostText + 2;  // as "\u0000" takes six bytes

/// The next line without its end, taken from `text`.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

std::optional<std::string> text_in_quotes(std::string_view value) {
  try {
    std::string text = parse_json(value, kModelCardFile).as_string(kModelCardFile);
    if (!text.empty() && text.size() <= kMostText) return text;
  } catch (const Error&) {  // nothing that we take
  }
  return std::nullopt;
}

/// The text of a value in double quotes (which YAML has from JSON) or without any; nothing for another kind of value.
std::optional<std::string> text_of(std::string_view value) {
  if (value.empty() || value.size() > kMostQuoted || !is_utf8(value)) return std::nullopt;
  if (value.front() == '"') return text_in_quotes(value);
  value = trimmed(value.substr(0, value.find(" #")));  // a comment
  if (value.empty()) return std::nullopt;
  constexpr std::string_view kMeansMore = "[]{}'|>&*!%@`#,?~";
  const bool is_plain = value.size() <= kMostText && kMeansMore.find(value.front()) == std::string_view::npos &&
                        !value.starts_with("- ") && !value.ends_with(':') &&
                        value.find(": ") == std::string_view::npos && value.find('\t') == std::string_view::npos;
  constexpr std::string_view kNothing[] = {"null", "Null", "NULL"};
  if (!is_plain || std::ranges::find(kNothing, value) != std::end(kNothing)) return std::nullopt;
  return std::string(value);
}

/// Does the value before `text` go on, as one does in YAML whose next lines are indented? Empty lines may lie between.
bool goes_on(std::string_view text) {
  const std::size_t begin = text.find_first_not_of("\r\n");
  return begin != std::string_view::npos && (text[begin] == ' ' || text[begin] == '\t');
}

/// JSON whose text YAML reads alike: with escapes for what counts there as no character or as the end of a line.
std::string in_quotes(const std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kLines[] = {{"\xE2\x80\xA8", "\\u2028"},
                                                                      {"\xE2\x80\xA9", "\\u2029"},
                                                                      {"\xEF\xBF\xBE", "\\ufffe"},
                                                                      {"\xEF\xBF\xBF", "\\uffff"},
                                                                      {"\x7F", "\\u007f"}};
  const std::string json = canonical_json(Json(text));
  std::string quoted;
  for (std::size_t at = 0; at < json.size();) {
    const std::string_view rest = std::string_view(json).substr(at);
    const auto other = std::ranges::find_if(kLines, [&](const auto& line) { return rest.starts_with(line.first); });
    const bool is_control = rest.size() > 1 && rest[0] == '\xC2' && static_cast<unsigned char>(rest[1]) < 0xA0;
    if (other != std::end(kLines)) {
      quoted += other->second;
      at += other->first.size();
    } else if (is_control) {  // U+0080 to U+009F
      constexpr char kDigits[] = "0123456789abcdef";
      const auto low = static_cast<unsigned char>(rest[1]);
      quoted += std::string("\\u00") + kDigits[low >> 4] + kDigits[low & 15];
      at += 2;
    } else {
      quoted += json[at++];
    }
  }
  return quoted;
}

/// What the metadata say of a word; null where that is nothing, no text, or more than a head holds.
const std::string* fact_of(const std::map<std::string, std::string>& metadata, const Word& word) {
  const auto found = metadata.find(std::string(word.metadata));
  const bool is_held = found != metadata.end() && !found->second.empty() && found->second.size() <= kMostText;
  return is_held && is_utf8(found->second) ? &found->second : nullptr;
}

std::string line_of(const Word& word, const std::string& fact) {
  return std::string(word.card) + ": " + in_quotes(fact) + "\n";
}

std::string in_fences(const std::string& lines) {
  return std::string(kFence) + "\n" + lines + std::string(kFence) + "\n";
}

/// The lines of a card's head, with their ends; the card from its closing fence on. Nothing where it has no head.
struct Head {
  std::vector<std::string_view> lines;
  std::string_view rest;
};
std::optional<Head> head_of(std::string_view card) {
  if (take_line(card) != kFence) return std::nullopt;
  Head head;
  while (head.lines.size() < kMostLines && !card.empty()) {
    head.rest = card;
    const std::size_t before = card.size();
    if (take_line(card) == kFence) return head;
    head.lines.push_back(head.rest.substr(0, before - card.size()));
  }
  return std::nullopt;
}

/// Does a line belong to the value of the one before: indented, empty, or an item of its list?
bool belongs_to_value(std::string_view line) { return line.find_first_of(" \t\r\n-]}") == 0; }

std::string_view key_of(std::string_view line) {
  const std::string_view key = trimmed(line.substr(0, line.find(':')));
  const bool is_quoted = key.size() > 1 && (key.front() == '"' || key.front() == '\'') && key.back() == key.front();
  return is_quoted ? key.substr(1, key.size() - 2) : key;
}

/// Something that others may take for a head, and head_of() does not.
bool may_have_other_head(std::string_view card) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (card.starts_with(kMark)) card.remove_prefix(kMark.size());
  const std::size_t begin = card.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && card.substr(begin).starts_with(kFence);
}

}  // namespace

std::string write_model_card(const tensor::Model& model) {
  std::string lines;
  for (const Word& word : kWords)
    if (const std::string* fact = fact_of(model.metadata, word)) lines += line_of(word, *fact);
  return lines.empty() ? lines : in_fences(lines);
}

std::optional<std::string> update_model_card(std::string_view card, const tensor::Model& model) {
  tensor::Model before;
  read_model_card(card, before);
  const std::optional<Head> head = head_of(card);
  if (!head && may_have_other_head(card)) return std::nullopt;
  const std::vector<std::string_view> old_lines = head ? head->lines : std::vector<std::string_view>();
  std::map<std::string_view, std::string> changed;  // by key of the head: its new line
  for (const Word& word : kWords) {
    const std::string *fact = fact_of(model.metadata, word), *old = fact_of(before.metadata, word);
    if (fact == nullptr || (old != nullptr && *old == *fact)) continue;
    const bool is_there = std::ranges::find(old_lines, word.card, key_of) != old_lines.end();
    if (is_there && old == nullptr) continue;  // in a form that is not understood: it may say just that
    changed.emplace(word.card, line_of(word, *fact));
  }
  if (changed.empty()) return std::nullopt;
  std::string lines;
  bool is_replaced = false;
  for (const std::string_view line : old_lines) {
    is_replaced = belongs_to_value(line) ? is_replaced : changed.contains(key_of(line));
    if (!is_replaced) lines += line;
  }
  for (const auto& [key, line] : changed) lines += line;
  if (!head) return in_fences(lines) + std::string(card);
  return std::string(kFence) + "\n" + lines + std::string(head->rest);
}

void read_model_card(std::string_view card, tensor::Model& model) {
  if (take_line(card) != kFence) return;
  std::map<std::string, std::string> facts;
  for (std::size_t lines = 0; lines < kMostLines && !card.empty(); ++lines) {
    const std::string_view line = take_line(card);
    if (line == kFence) return model.metadata.merge(facts);  // which keeps what is there
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const auto word = std::ranges::find(kWords, line.substr(0, colon), &Word::card);
    if (word == std::end(kWords)) continue;
    facts.erase(std::string(word->metadata));  // of a doubled key the last counts
    if (goes_on(card)) continue;
    if (auto text = text_of(trimmed(line.substr(colon + 1)))) facts.emplace(word->metadata, std::move(*text));
  }
}

}  // namespace ingot::convert
