#include "converters/hf/model_card.h"

#include <algorithm>
#include <map>
#include <optional>

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
constexpr std::size_t kMostLines = 1000;  // of a head
constexpr std::size_t kMostText = 4096;   // bytes of a fact

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

/// The text of a value in double quotes (which YAML has from JSON) or without any; nothing for another kind of value.
std::optional<std::string> text_of(std::string_view value) {
  if (value.empty() || value.size() > kMostText || !is_utf8(value)) return std::nullopt;
  if (value.front() == '"') {
    try {
      return parse_json(value, kModelCardFile).as_string(kModelCardFile);
    } catch (const Error&) {
      return std::nullopt;
    }
  }
  constexpr std::string_view kMeansMore = "[]{}'|>&*!%@`#,?~";
  const bool is_plain = kMeansMore.find(value.front()) == std::string_view::npos && !value.starts_with("- ") &&
                        value.find(": ") == std::string_view::npos && value.find(" #") == std::string_view::npos;
  constexpr std::string_view kNothing[] = {"null", "Null", "NULL"};
  if (!is_plain || std::ranges::find(kNothing, value) != std::end(kNothing)) return std::nullopt;
  return std::string(value);
}

}  // namespace

std::string write_model_card(const tensor::Model& model) {
  std::string head;
  for (const Word& word : kWords) {
    const auto found = model.metadata.find(std::string(word.metadata));
    if (found == model.metadata.end() || found->second.empty() || found->second.size() > kMostText) continue;
    head += std::string(word.card) + ": " + canonical_json(Json(found->second)) + "\n";
  }
  if (head.empty()) return head;
  return std::string(kFence) + "\n" + head + std::string(kFence) + "\n";
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
    if (auto text = text_of(trimmed(line.substr(colon + 1)))) facts.emplace(word->metadata, std::move(*text));
  }
}

}  // namespace ingot::convert
