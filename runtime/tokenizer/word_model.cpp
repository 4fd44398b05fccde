// The vocabulary, the byte alphabet, and the table of models.
#include "runtime/tokenizer/word_model.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "format/base/utf8.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

// Bytes that print stand for themselves; the other 68, in ascending order, for U+0100, U+0101, ...
struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::array<int, 0x144> bytes;  // by code point; -1: outside the map
  ByteAlphabet() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      const char32_t code = printable ? static_cast<char32_t>(byte) : next++;
      unicode::append_utf8(characters[static_cast<std::size_t>(byte)], code);
      bytes[code] = byte;
    }
  }
};

const ByteAlphabet& alphabet() noexcept {
  static const ByteAlphabet instance;
  return instance;
}

struct ModelRow {
  tensor::TokenizerKind kind;
  std::unique_ptr<WordModel> (*make)(const tensor::TokenizerSpec& spec);
};
constexpr ModelRow kModels[] = {
    {tensor::TokenizerKind::byte_bpe, make_ranked_bpe},
    {tensor::TokenizerKind::char_bpe, make_ranked_bpe},
    {tensor::TokenizerKind::spm_bpe, make_scored_bpe},
    {tensor::TokenizerKind::unigram, make_unigram},
};

}  // namespace

Vocabulary::Vocabulary(const tensor::TokenizerSpec& spec) {
  ids_.reserve(spec.tokens.size());
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    ids_.emplace(spec.tokens[id], static_cast<std::uint32_t>(id));
    longest_ = std::max(longest_, spec.tokens[id].size());
  }
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char text[] = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    bytes_[byte] = find({text, sizeof text});
  }
}

std::uint32_t Vocabulary::find(std::string_view text) const noexcept {
  const auto found = ids_.find(text);
  return found == ids_.end() ? kAbsent : found->second;
}

bool Vocabulary::append_bytes(std::string_view text, std::vector<std::uint32_t>& ids) const {
  const auto exists = [&](char c) { return bytes_[static_cast<unsigned char>(c)] != kAbsent; };
  if (!std::all_of(text.begin(), text.end(), exists)) return false;
  for (const char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
  return true;
}

std::unique_ptr<WordModel> make_word_model(const tensor::TokenizerSpec& spec) {
  const auto row =
      std::find_if(std::begin(kModels), std::end(kModels), [&](const ModelRow& r) { return r.kind == spec.kind; });
  return row->make(spec);
}

const std::string& byte_character(unsigned char byte) noexcept { return alphabet().characters[byte]; }

bool bytes_of_characters(std::string_view token, std::string& bytes) {
  std::string result;
  for (std::size_t at = 0; at < token.size();) {
    if (utf8_part_at(token, at).kind != Utf8Part::Kind::valid) return false;
    const unicode::CodePoint point = unicode::code_point_at(token, at);
    if (point.value >= alphabet().bytes.size() || alphabet().bytes[point.value] < 0) return false;
    result += static_cast<char>(alphabet().bytes[point.value]);
    at += point.length;
  }
  bytes = std::move(result);
  return true;
}

}  // namespace ingot::runtime
