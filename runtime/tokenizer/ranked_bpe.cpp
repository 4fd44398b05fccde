// Byte-pair encoding by ranked merges, over the byte alphabet (byte_bpe) or over characters (char_bpe). The rules for
// characters outside the vocabulary (byte tokens, unknown token, fusing) are those of the `tokenizers` library.
#include <algorithm>
#include <optional>
#include <queue>

#include "format/base/error.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_model.h"

namespace ingot::runtime {
namespace {

struct Merge {
  std::uint32_t rank, result;
};

struct Symbol {
  std::uint32_t id;
  std::int32_t previous, next;
  bool alive;
};

// A pair that could merge; the queue yields the lowest rank, leftmost first.
struct Candidate {
  std::uint32_t rank;
  std::int32_t left;
  std::uint32_t result;
  bool operator<(const Candidate& other) const noexcept {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) noexcept {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

class RankedBpe final : public WordModel {
 public:
  explicit RankedBpe(const tensor::TokenizerSpec& spec) : spec_(spec), vocabulary_(spec), unknown_(spec.unknown) {
    const bool bytes = spec.kind == tensor::TokenizerKind::byte_bpe;
    if (bytes && unknown_ && *unknown_ < spec.types.size() && spec.types[*unknown_] != tensor::TokenType::unknown)
      unknown_.reset();
    if (bytes) {
      for (unsigned byte = 0; byte < 256; ++byte)
        byte_ids_[byte] = vocabulary_.find(byte_character(static_cast<unsigned char>(byte)));
    }
    merges_.reserve(spec.merges.size());
    for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
      const std::string& line = spec.merges[rank];
      const std::size_t space = line.find(' ', 1);
      if (space == std::string::npos) throw bad_merge(rank, line, "has no two parts");
      const std::uint32_t left = vocabulary_.find(std::string_view(line).substr(0, space));
      const std::uint32_t right = vocabulary_.find(std::string_view(line).substr(space + 1));
      const std::uint32_t whole = vocabulary_.find(line.substr(0, space) + line.substr(space + 1));
      if (left == Vocabulary::kAbsent || right == Vocabulary::kAbsent || whole == Vocabulary::kAbsent) {
        throw bad_merge(rank, line, "names a token that is not in the vocabulary");
      }
      merges_.emplace(pair_key(left, right), Merge{static_cast<std::uint32_t>(rank), whole});
    }
  }

  void encode(std::string_view word, std::vector<std::uint32_t>& ids) const override {
    const bool bytes = spec_.kind == tensor::TokenizerKind::byte_bpe;
    if (spec_.ignore_merges) {
      const std::uint32_t whole = bytes ? vocabulary_.find(in_alphabet(word)) : vocabulary_.find(word);
      if (whole != Vocabulary::kAbsent) {
        ids.push_back(whole);
        return;
      }
    }
    std::vector<std::uint32_t> start;
    bytes ? start_bytes(word, start) : start_characters(word, start);
    merge_all(start, ids);
  }

 private:
  static Error bad_merge(std::size_t rank, const std::string& line, const char* what) {
    return {ErrorKind::invalid_value, "tokenizer: merge " + std::to_string(rank) + " \"" + line + "\" " + what};
  }

  static std::string in_alphabet(std::string_view word) {
    std::string text;
    for (const char c : word) text += byte_character(static_cast<unsigned char>(c));
    return text;
  }

  void start_bytes(std::string_view word, std::vector<std::uint32_t>& ids) const {
    bool unknown_before = false;
    for (const char c : word) {
      const std::uint32_t id = byte_ids_[static_cast<unsigned char>(c)];
      if (id != Vocabulary::kAbsent) ids.push_back(id);
      const bool unknown = id == Vocabulary::kAbsent && !(spec_.byte_fallback && fall_back(c, ids));
      if (unknown && unknown_ && !(unknown_before && spec_.fuse_unknown)) ids.push_back(*unknown_);
      unknown_before = unknown;
    }
  }
  // The byte tokens of the character that stands for byte `c`.
  bool fall_back(char c, std::vector<std::uint32_t>& ids) const {
    return vocabulary_.append_bytes(byte_character(static_cast<unsigned char>(c)), ids);
  }

  void start_characters(std::string_view word, std::vector<std::uint32_t>& ids) const {
    bool unknown_before = false;
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, unicode::code_point_at(word, at).length);
      at += character.size();
      const std::uint32_t id = vocabulary_.find(character);
      if (id != Vocabulary::kAbsent) ids.push_back(id);
      const bool unknown =
          id == Vocabulary::kAbsent && !(spec_.byte_fallback && vocabulary_.append_bytes(character, ids));
      if (unknown && unknown_ && !(unknown_before && spec_.fuse_unknown)) ids.push_back(*unknown_);
      unknown_before = unknown;
    }
  }

  void merge_all(const std::vector<std::uint32_t>& start, std::vector<std::uint32_t>& ids) const {
    const auto count = static_cast<std::int32_t>(start.size());
    std::vector<Symbol> symbols(start.size());
    std::priority_queue<Candidate> queue;
    const auto consider = [&](std::int32_t left) {
      if (left < 0 || symbols[left].next < 0) return;
      const auto found = merges_.find(pair_key(symbols[left].id, symbols[symbols[left].next].id));
      if (found != merges_.end()) queue.push({found->second.rank, left, found->second.result});
    };
    for (std::int32_t i = 0; i < count; ++i) symbols[i] = {start[i], i - 1, i + 1 < count ? i + 1 : -1, true};
    for (std::int32_t i = 0; i < count; ++i) consider(i);
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[top.left];
      if (!left.alive || left.next < 0) continue;
      Symbol& right = symbols[left.next];
      const auto found = merges_.find(pair_key(left.id, right.id));
      if (found == merges_.end() || found->second.result != top.result) continue;  // the pair has changed since
      left.id = top.result;
      right.alive = false;
      left.next = right.next;
      if (left.next >= 0) symbols[left.next].previous = top.left;
      consider(left.previous);
      consider(top.left);
    }
    for (std::int32_t i = count == 0 ? -1 : 0; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
  }

  const tensor::TokenizerSpec& spec_;
  Vocabulary vocabulary_;
  std::optional<std::uint32_t> unknown_;  // what stands for a character without a token; none: nothing does
  std::uint32_t byte_ids_[256] = {};
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace

std::unique_ptr<WordModel> make_ranked_bpe(const tensor::TokenizerSpec& spec) {
  return std::make_unique<RankedBpe>(spec);
}

}  // namespace ingot::runtime
