// Unigram: the segmentation with the greatest sum of log probabilities (Viterbi). Ties keep the first path found, an
// unknown character costs the lowest score minus 10, neighbouring unknowns are one token.
#include <algorithm>
#include <limits>

#include "format/base/error.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/word_model.h"

namespace ingot::runtime {
namespace {

constexpr double kUnknownPenalty = 10;

class Unigram final : public WordModel {
 public:
  explicit Unigram(const tensor::TokenizerSpec& spec) : spec_(spec), vocabulary_(spec) {
    if (spec.scores.size() != spec.tokens.size()) {
      throw Error(ErrorKind::invalid_value, "tokenizer: expected " + std::to_string(spec.tokens.size()) +
                                                " scores, got " + std::to_string(spec.scores.size()));
    }
    double lowest = std::numeric_limits<double>::infinity();
    for (const float score : spec.scores) lowest = std::min(lowest, static_cast<double>(score));
    unknown_score_ = lowest - kUnknownPenalty;
    matchable_.assign(spec.tokens.size(), true);
    for (const tensor::AddedToken& added : spec.added) {
      // Pieces of the model have a score; a token that was only added is found before the words are cut, or not wanted.
      if (added.id < matchable_.size() && spec.scores[added.id] == 0) matchable_[added.id] = false;
    }
  }

  void encode(std::string_view word, std::vector<std::uint32_t>& ids) const override {
    const std::vector<Node> best = best_paths(word);
    std::vector<std::string_view> parts;  // last first
    for (std::size_t end = word.size(); end > 0;) {
      std::size_t begin = best[end].begin;
      if (best[end].unknown) {
        while (begin > 0 && best[begin].unknown) begin = best[begin].begin;
      }
      parts.push_back(word.substr(begin, end - begin));
      end = begin;
    }
    std::reverse(parts.begin(), parts.end());
    for (const std::string_view part : parts) emit(part, ids);
  }

 private:
  struct Node {
    double score = -std::numeric_limits<double>::infinity();
    std::size_t begin = 0;
    bool reached = false, unknown = false;
    void offer(double candidate, std::size_t from, bool is_unknown) noexcept {
      if (reached && candidate <= score) return;
      score = candidate, begin = from, reached = true, unknown = is_unknown;
    }
  };

  std::vector<Node> best_paths(std::string_view word) const {
    std::vector<Node> best(word.size() + 1);
    best[0].score = 0;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t first = unicode::code_point_at(word, at).length;
      bool single = false;
      for (std::size_t end = at + first; end <= word.size() && end - at <= vocabulary_.longest_bytes();) {
        const std::uint32_t id = vocabulary_.find(word.substr(at, end - at));
        if (id != Vocabulary::kAbsent && matchable_[id]) {
          best[end].offer(best[at].score + spec_.scores[id], at, spec_.unknown && id == *spec_.unknown);
          single |= end == at + first;
        }
        if (end == word.size()) break;
        end += unicode::code_point_at(word, end).length;
      }
      if (!single) best[at + first].offer(best[at].score + unknown_score_, at, true);
      at += first;
    }
    return best;
  }

  void emit(std::string_view part, std::vector<std::uint32_t>& ids) const {
    if (const std::uint32_t id = vocabulary_.find(part); id != Vocabulary::kAbsent) {
      ids.push_back(id);
    } else if (!(spec_.byte_fallback && vocabulary_.append_bytes(part, ids)) && spec_.unknown) {
      ids.push_back(*spec_.unknown);
    }
  }

  const tensor::TokenizerSpec& spec_;
  Vocabulary vocabulary_;
  std::vector<bool> matchable_;  // by id
  double unknown_score_;
};

}  // namespace

std::unique_ptr<WordModel> make_unigram(const tensor::TokenizerSpec& spec) { return std::make_unique<Unigram>(spec); }

}  // namespace ingot::runtime
