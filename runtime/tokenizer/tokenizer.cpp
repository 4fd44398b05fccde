// Text -> ids: added tokens, normalizer, pre-tokenizer, word model, bos/eos. Ids -> text: the decoder of the
// tokenizer's kind. Implements spec/tokenizer.md. The order of the stages is that of the `tokenizers` library;
// SentencePiece models (spm_bpe) follow llama.cpp in putting the prefix space after every control token.
#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "format/base/error.h"
#include "format/base/utf8.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_cuts.h"
#include "runtime/tokenizer/word_model.h"

namespace ingot::runtime {
namespace {

using tensor::TokenizerKind;
using tensor::TokenType;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    result.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  text = result.append(text, done);
}

void strip(std::string& text, bool left, bool right) {
  std::size_t begin = 0, end = text.size();
  const auto blank_at = [&](std::size_t at) { return unicode::is_white_space(unicode::code_point_at(text, at).value); };
  while (left && begin < end && blank_at(begin)) begin += unicode::code_point_at(text, begin).length;
  while (right && end > begin) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!blank_at(last)) break;
    end = last;
  }
  text = text.substr(begin, end - begin);
}

struct NormalizerRow {
  std::string_view kind;
  void (*apply)(const tensor::NormalizerStep& step, std::string& text);
};
constexpr NormalizerRow kNormalizers[] = {
    {"prepend",
     [](const tensor::NormalizerStep& step, std::string& text) {
       if (!text.empty()) text.insert(0, step.to);
     }},
    {"replace", [](const tensor::NormalizerStep& step, std::string& text) { replace_all(text, step.from, step.to); }},
    {"nfc", [](const tensor::NormalizerStep&, std::string& text) { text = unicode::nfc(text); }},
    {"strip", [](const tensor::NormalizerStep&, std::string& text) { strip(text, true, true); }},
    {"strip_left", [](const tensor::NormalizerStep&, std::string& text) { strip(text, true, false); }},
    {"strip_right", [](const tensor::NormalizerStep&, std::string& text) { strip(text, false, true); }},
};

const NormalizerRow* find_normalizer(std::string_view kind) noexcept {
  const auto row = std::find_if(std::begin(kNormalizers), std::end(kNormalizers),
                                [&](const NormalizerRow& r) { return r.kind == kind; });
  return row == std::end(kNormalizers) ? nullptr : row;
}

// Tokens that the source marks only by type (GGUF, tokenizer.model) are matched in the text like added ones.
void complete_added(tensor::TokenizerSpec& spec) {
  if (!spec.added.empty()) return;
  for (std::size_t id = 0; id < spec.types.size(); ++id) {
    const TokenType type = spec.types[id];
    if (type != TokenType::control && type != TokenType::user_defined && type != TokenType::unknown) continue;
    tensor::AddedToken token;
    token.id = static_cast<std::uint32_t>(id);
    token.text = spec.tokens[id];
    token.special = type != TokenType::user_defined;
    spec.added.push_back(std::move(token));
  }
}

void validate(const tensor::TokenizerSpec& spec) {
  const auto bad = [](const std::string& what) { return Error(ErrorKind::invalid_value, "tokenizer: " + what); };
  const std::string size = std::to_string(spec.tokens.size());
  if (spec.tokens.empty()) throw bad("the vocabulary is empty");
  if (spec.tokens.size() >= 0xFFFFFFFF) throw bad(size + " tokens do not fit 32-bit ids");
  if (!spec.types.empty() && spec.types.size() != spec.tokens.size()) {
    throw bad("expected " + size + " token types, got " + std::to_string(spec.types.size()));
  }
  for (const auto& id : {spec.bos, spec.eos, spec.unknown, spec.padding}) {
    if (id && *id >= spec.tokens.size())
      throw bad("special token id " + std::to_string(*id) + " in a vocabulary of " + size);
  }
  for (const tensor::AddedToken& added : spec.added) {
    if (added.id >= spec.tokens.size())
      throw bad("added token id " + std::to_string(added.id) + " in a vocabulary of " + size);
  }
  for (const tensor::NormalizerStep& step : spec.normalizer) {
    if (find_normalizer(step.kind) == nullptr) {
      throw Error(ErrorKind::unsupported, "tokenizer: normalizer \"" + step.kind + "\" is not supported");
    }
  }
}

// The ids of one text as they grow. Most words of a text come again: theirs are copied.
class Ids {
 public:
  Ids(const WordModel& model, const WordCuts& cuts) : model_(model), cuts_(cuts) {}

  void push(std::uint32_t id) { ids_.push_back(id); }
  void push_text(std::string_view text) {
    while (!text.empty()) {
      const std::size_t size = cuts_.first_piece(text);
      push_word(text.substr(0, size));
      text.remove_prefix(size);
    }
  }
  [[nodiscard]] std::vector<std::uint32_t> take() { return std::move(ids_); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };
  static constexpr std::size_t kLongestKept = 64;

  void push_word(std::string_view word) {
    const std::size_t begin = ids_.size();
    if (const auto seen = seen_.find(word); seen != seen_.end()) {
      ids_.resize(begin + seen->second.count);
      std::copy_n(ids_.begin() + static_cast<std::ptrdiff_t>(seen->second.begin), seen->second.count,
                  ids_.begin() + static_cast<std::ptrdiff_t>(begin));
      return;
    }
    model_.encode(word, ids_);
    if (word.size() <= kLongestKept) seen_.emplace(word, Run{begin, ids_.size() - begin});
  }

  struct Run {
    std::size_t begin, count;
  };
  const WordModel& model_;
  const WordCuts& cuts_;
  std::vector<std::uint32_t> ids_;
  std::unordered_map<std::string, Run, Hash, std::equal_to<>> seen_;  // where the ids of a word stand
};

}  // namespace

struct Tokenizer::Impl {
  tensor::TokenizerSpec spec;
  std::unique_ptr<WordModel> model;
  WordCuts cuts;
  PreTokenizer pre_tokenizer;
  AddedTokenMatcher raw_added, normalized_added;
  std::vector<bool> is_added, is_special;  // by id

  explicit Impl(const tensor::TokenizerSpec& source)
      : spec(source), cuts(source), pre_tokenizer(source.pre_tokenizers) {
    validate(spec);
    complete_added(spec);
    model = make_word_model(spec);
    is_added.assign(spec.tokens.size(), false);
    is_special.assign(spec.tokens.size(), false);
    for (std::size_t id = 0; id < spec.types.size(); ++id) {
      is_special[id] = spec.types[id] == TokenType::control || spec.types[id] == TokenType::unknown;
    }
    for (const tensor::AddedToken& token : spec.added) {
      is_added[token.id] = true;
      if (token.special) is_special[token.id] = true;
      token.normalized ? normalized_added.add(token, normalized(token.text)) : raw_added.add(token, token.text);
    }
  }

  std::string normalized(std::string_view text) const {
    std::string result(text);
    for (const tensor::NormalizerStep& step : spec.normalizer) find_normalizer(step.kind)->apply(step, result);
    return result;
  }

  // A run of text between added tokens.
  void encode_text(std::string_view text, bool at_start, bool parse_special, Ids& ids) const {
    const std::string clean = normalized(text);
    bool first = at_start;
    for (const Fragment& fragment : normalized_added.split(clean, parse_special)) {
      if (fragment.id != Fragment::kText) {
        ids.push(fragment.id);
      } else {
        for (const Piece& piece : pre_tokenizer.split(std::string(fragment.text), first)) ids.push_text(piece.text);
      }
      first = false;
    }
  }

  void encode_sentencepiece(std::string_view text, bool after_special, Ids& ids) const {
    std::string word = normalized(text);
    if (spec.add_space_prefix && after_special) word.insert(0, " ");
    replace_all(word, " ", kMetaspace);
    ids.push_text(word);
  }

  std::string bytes_of(std::uint32_t id) const {
    const std::string& token = spec.tokens[id];
    std::string bytes;
    if (spec.kind == TokenizerKind::byte_bpe) return !is_added[id] && bytes_of_characters(token, bytes) ? bytes : token;
    if (const int byte = byte_value(id); byte >= 0) return std::string(1, static_cast<char>(byte));
    bytes = token;
    replace_all(bytes, kMetaspace, " ");
    return bytes;
  }

  // The byte of a "<0xXX>" token, else -1.
  int byte_value(std::uint32_t id) const {
    const std::string& token = spec.tokens[id];
    const bool typed = !spec.types.empty() && spec.types[id] == TokenType::byte;
    if (!typed && !spec.byte_fallback) return -1;
    if (spec.kind == TokenizerKind::byte_bpe || token.size() != 6 || !token.starts_with("<0x") || token[5] != '>')
      return -1;
    int value = 0;
    for (const char c : token.substr(3, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                               : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }
};

Tokenizer::Tokenizer(const tensor::TokenizerSpec& spec) : impl_(std::make_unique<Impl>(spec)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
const tensor::TokenizerSpec& Tokenizer::spec() const noexcept { return impl_->spec; }

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const tensor::TokenizerSpec& spec = impl_->spec;
  Ids ids(*impl_->model, impl_->cuts);
  if (add_special && spec.add_bos && spec.bos) ids.push(*spec.bos);
  const std::string valid = to_valid_utf8(text);
  bool after_special = true;  // also at the start
  for (const Fragment& fragment : impl_->raw_added.split(valid, parse_special)) {
    if (fragment.id != Fragment::kText) {
      ids.push(fragment.id);
      after_special = true;
      continue;
    }
    if (spec.kind == TokenizerKind::spm_bpe) {
      impl_->encode_sentencepiece(fragment.text, after_special, ids);
    } else {
      impl_->encode_text(fragment.text, fragment.text.data() == valid.data(), parse_special, ids);
    }
    after_special = false;
  }
  if (add_special && spec.add_eos && spec.eos) ids.push(*spec.eos);
  return ids.take();
}

std::string Tokenizer::token_bytes(std::uint32_t id, bool show_special) const {
  if (id >= impl_->spec.tokens.size() || (!show_special && impl_->is_special[id])) return {};
  return impl_->bytes_of(id);
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, bool show_special) const {
  std::string text, byte_run;
  // Byte tokens of the character models: valid UTF-8 as a whole, or one U+FFFD for each byte.
  const auto flush = [&] {
    const std::string valid = to_valid_utf8(byte_run);
    if (valid == byte_run) {
      text += byte_run;
    } else {
      for (std::size_t i = 0; i < byte_run.size(); ++i) text += "\xEF\xBF\xBD";
    }
    byte_run.clear();
  };
  for (const std::uint32_t id : ids) {
    if (id < impl_->spec.tokens.size() && impl_->byte_value(id) >= 0) {
      byte_run += token_bytes(id, show_special);
      continue;
    }
    flush();
    text += token_bytes(id, show_special);
  }
  flush();
  if (impl_->spec.strip_one_leading_space && text.starts_with(' ')) text.erase(0, 1);
  return to_valid_utf8(text);
}

std::string Utf8Streamer::push(std::string_view bytes) {
  pending_ += bytes;
  std::size_t at = 0;
  std::string text;
  while (at < pending_.size()) {
    const Utf8Part part = utf8_part_at(pending_, at);
    if (part.kind == Utf8Part::Kind::incomplete) break;
    part.kind == Utf8Part::Kind::valid ? text.append(pending_, at, part.length) : text.append("\xEF\xBF\xBD");
    at += part.length;
  }
  pending_.erase(0, at);
  return text;
}

std::string Utf8Streamer::flush() {
  std::string text = to_valid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace ingot::runtime
