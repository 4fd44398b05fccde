// SentencePiece BPE: neighbours whose concatenation is a token merge in order of the token's score, leftmost first
// among equals.
#include <queue>

#include "format/base/error.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_model.h"

namespace ingot::runtime {
namespace {

struct Symbol {
  std::size_t begin, length;  // bytes of the word; length 0: swallowed by its left neighbour
  std::int32_t previous, next;
};

struct Candidate {
  float score;
  std::int32_t left, right;
  std::size_t length;  // of both when the pair was seen: tells stale entries
  bool operator<(const Candidate& other) const noexcept {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class ScoredBpe final : public WordModel {
 public:
  explicit ScoredBpe(const tensor::TokenizerSpec& spec) : spec_(spec), vocabulary_(spec) {
    if (spec.scores.size() != spec.tokens.size()) {
      throw Error(ErrorKind::invalid_value, "tokenizer: expected " + std::to_string(spec.tokens.size()) +
                                                " scores, got " + std::to_string(spec.scores.size()));
    }
  }

  void encode(std::string_view word, std::vector<std::uint32_t>& ids) const override {
    std::vector<Symbol> symbols;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = unicode::code_point_at(word, at).length;
      const auto index = static_cast<std::int32_t>(symbols.size());
      symbols.push_back({at, length, index - 1, at + length < word.size() ? index + 1 : -1});
      at += length;
    }
    merge_all(word, symbols);
    for (std::int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next)
      emit(word.substr(symbols[i].begin, symbols[i].length), ids);
  }

 private:
  void merge_all(std::string_view word, std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> queue;
    const auto consider = [&](std::int32_t left) {
      if (left < 0 || symbols[left].next < 0) return;
      const std::size_t length = symbols[left].length + symbols[symbols[left].next].length;
      if (length > vocabulary_.longest_bytes()) return;
      const std::uint32_t id = vocabulary_.find(word.substr(symbols[left].begin, length));
      if (id != Vocabulary::kAbsent) queue.push({spec_.scores[id], left, symbols[left].next, length});
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[top.left];
      Symbol& right = symbols[top.right];
      if (left.length == 0 || right.length == 0 || left.length + right.length != top.length) continue;
      left.length = top.length;
      right.length = 0;
      left.next = right.next;
      if (left.next >= 0) symbols[left.next].previous = top.left;
      consider(left.previous);
      consider(top.left);
    }
  }

  void emit(std::string_view text, std::vector<std::uint32_t>& ids) const {
    if (const std::uint32_t id = vocabulary_.find(text); id != Vocabulary::kAbsent) {
      ids.push_back(id);
    } else if (!vocabulary_.append_bytes(text, ids) && spec_.unknown) {
      ids.push_back(*spec_.unknown);
    }
  }

  const tensor::TokenizerSpec& spec_;
  Vocabulary vocabulary_;
};

}  // namespace

std::unique_ptr<WordModel> make_scored_bpe(const tensor::TokenizerSpec& spec) {
  return std::make_unique<ScoredBpe>(spec);
}

}  // namespace ingot::runtime
