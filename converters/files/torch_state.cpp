#include "converters/files/torch_state.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <set>

namespace ingot::convert {
namespace {

using Kind = PickleValue::Kind;

constexpr std::array<std::string_view, 6> kCustomaryNames = {"state_dict", "model_state_dict", "model",
                                                             "module",     "params",           "weights"};
constexpr int kMaxDepth = 8;                        // of dictionaries that are searched
constexpr std::size_t kLongestStep = 100;           // bytes of a key that are kept for messages
constexpr std::size_t kMaxNamed = 8;                // things that a message lists
constexpr std::size_t kMaxTensorNameBytes = 1'024;  // as everywhere (spec/limits.md)
constexpr std::string_view kMeta = "meta", kMetaStep = "meta.";
constexpr std::array<std::string_view, 12> kKindNames = {"None",     "a flag",       "a number", "a number",
                                                         "a number", "text",         "bytes",    "a tuple",
                                                         "a list",   "a dictionary", "a type",   "an object"};

/// A dictionary that holds tensors itself.
struct Candidate {
  const PickleValue* dict;
  std::vector<std::string> path;
  std::size_t tensor_count;
};

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string result = "'";
  for (const char c : text.substr(0, kLongest)) result += c < ' ' || c > '~' ? '?' : c;
  return result + (text.size() > kLongest ? "...'" : "'");
}

/// What a dictionary holds that is not read, for a sentence about it.
class LeftOut {
 public:
  void add(const std::string& key, const std::string& what) {
    if (++count_ <= kMaxNamed) names_ += (names_.empty() ? "" : ", ") + key + " (" + what + ")";
  }
  void note(StateDict& state) const {
    if (count_ != 0)
      state.notes.push_back("not read, because they are no tensors: " + names_ + (count_ > kMaxNamed ? ", ..." : ""));
  }

 private:
  std::string names_;
  std::size_t count_ = 0;
};

class StateSearch {
 public:
  StateSearch(const Pickle& pickle, const TorchObjects& objects, std::string_view where)
      : pickle_(pickle), objects_(objects), where_(where) {}

  StateDict run() {
    const PickleValue& root = pickle_.root();
    if (root.kind != Kind::dict) fail("it holds " + describe(root) + ", no dictionary of tensors");
    std::vector<std::string> path;
    collect(root, path);
    if (candidates_.empty()) fail("no dictionary of tensors is inside; " + contents(root));
    StateDict state;
    if (candidates_.size() > 1 && is_dict_of_modules(root)) {
      each(root, [&](const PickleValue& key, const PickleValue& value) {
        take_module(value, std::string(key.text()) + ".", state);
      });
      return state;
    }
    const Candidate& chosen = choose();
    take(*chosen.dict, state);
    if (!chosen.path.empty() && root.item_count > 2)
      state.notes.push_back("took " + in_quotes(joined(chosen.path)) + "; " + contents(root));
    return state;
  }

 private:
  [[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::unsupported) const {
    throw Error(kind, std::string(where_) + ": " + what);
  }
  [[nodiscard]] static bool is_tensor(const PickleValue& value) noexcept {
    return value.kind == Kind::object && value.tag == TorchObjects::kTensor;
  }
  [[nodiscard]] static std::string describe(const PickleValue& value) {
    return is_tensor(value) ? "a tensor" : std::string(kKindNames[static_cast<std::size_t>(value.kind)]);
  }
  [[nodiscard]] static std::string joined(const std::vector<std::string>& path) {
    std::string text;
    for (const std::string& step : path) text += (text.empty() ? "" : ".") + step;
    return text;
  }

  /// Pairs of key and value, as a callback: f(key, value).
  template <class Visit>
  void each(const PickleValue& dict, const Visit& visit) const {
    const std::span<const PickleIndex> items = pickle_.items(dict);
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) visit(pickle_.at(items[i]), pickle_.at(items[i + 1]));
  }
  [[nodiscard]] std::size_t tensors_in(const PickleValue& dict) const {
    std::size_t count = 0;
    each(dict, [&](const PickleValue& key, const PickleValue& value) {
      count += key.kind == Kind::text && is_tensor(value);
    });
    return count;
  }

  [[nodiscard]] static bool is_customary(const Candidate& candidate) {
    return candidate.path.size() == 1 &&
           std::find(kCustomaryNames.begin(), kCustomaryNames.end(), candidate.path.front()) != kCustomaryNames.end();
  }
  /// Of the many that an optimizer may have, only as many are kept as a message names.
  void add_candidate(Candidate candidate) {
    ++candidate_count_;
    if (candidates_.size() < kMaxNamed || (is_customary(candidate) && candidates_.size() < 2 * kMaxNamed))
      candidates_.push_back(std::move(candidate));
  }

  /// Every dictionary is looked at once, however often it is mentioned.
  void collect(const PickleValue& dict, std::vector<std::string>& path) {
    if (!seen_.insert(&dict).second) return;
    if (const std::size_t count = tensors_in(dict); count > 0) add_candidate({&dict, path, count});
    if (path.size() >= kMaxDepth) return;
    each(dict, [&](const PickleValue& key, const PickleValue& value) {
      if (value.kind != Kind::dict) return;
      path.push_back(key.kind == Kind::text ? std::string(key.text().substr(0, kLongestStep))
                                            : "(" + describe(key) + ")");
      collect(value, path);
      path.pop_back();
    });
  }

  /// {"model.layers.0.self_attn.q_proj": {"weight": tensor, ...}, ...}: every value a dictionary with tensors, every
  /// key a path.
  [[nodiscard]] bool is_dict_of_modules(const PickleValue& root) const {
    bool all = true, any_path = false;
    each(root, [&](const PickleValue& key, const PickleValue& value) {
      all = all && key.kind == Kind::text && value.kind == Kind::dict && tensors_in(value) > 0;
      any_path = any_path || key.text().find('.') != std::string_view::npos;
    });
    return all && any_path;
  }

  [[nodiscard]] const Candidate& choose() const {
    if (candidates_.size() == 1) return candidates_.front();
    const Candidate* customary = nullptr;
    for (const Candidate& candidate : candidates_) {
      if (!is_customary(candidate)) continue;
      if (customary != nullptr) fail(several());
      customary = &candidate;
    }
    if (customary == nullptr) fail(several());
    return *customary;
  }
  [[nodiscard]] std::string several() const {
    std::string text = "it holds several dictionaries of tensors, and none is plainly the model:";
    for (std::size_t i = 0; i < std::min(candidates_.size(), kMaxNamed); ++i) {
      const Candidate& one = candidates_[i];
      text += (i == 0 ? " " : ", ") + (one.path.empty() ? std::string("the top") : in_quotes(joined(one.path))) + " (" +
              std::to_string(one.tensor_count) + (one.tensor_count == 1 ? " tensor)" : " tensors)");
    }
    return candidate_count_ > kMaxNamed ? text + ", ..." : text;
  }
  [[nodiscard]] std::string contents(const PickleValue& dict) const {
    std::string text = "the file holds";
    std::size_t count = 0;
    each(dict, [&](const PickleValue& key, const PickleValue& value) {
      if (++count > kMaxNamed) return;
      text += (count == 1 ? " " : ", ") + (key.kind == Kind::text ? in_quotes(key.text()) : describe(key)) + " (" +
              describe(value) + ")";
    });
    return count == 0 ? text + " nothing" : count > kMaxNamed ? text + ", ..." : text;
  }

  [[nodiscard]] std::string name_of(const std::string& prefix, const PickleValue& key) const {
    std::string name = prefix + std::string(key.text());
    if (name.empty() || name.size() > kMaxTensorNameBytes)
      fail("a tensor's name has " + std::to_string(name.size()) + " bytes, expected 1 to " +
               std::to_string(kMaxTensorNameBytes),
           ErrorKind::limit_exceeded);
    return name;
  }
  void take_tensor(const std::string& prefix, const PickleValue& key, const PickleValue& value,
                   StateDict& state) const {
    state.tensors.emplace_back(name_of(prefix, key), &objects_.tensors[static_cast<std::size_t>(value.number)]);
  }

  void take(const PickleValue& dict, StateDict& state) const {
    LeftOut left_out;
    each(dict, [&](const PickleValue& key, const PickleValue& value) {
      if (key.kind == Kind::text && is_tensor(value))
        take_tensor({}, key, value, state);
      else
        left_out.add(key.kind == Kind::text ? in_quotes(key.text()) : describe(key), describe(value));
    });
    left_out.note(state);
  }
  /// A module's tensors and facts; those of its dictionary `meta` are told apart by that word.
  void take_module(const PickleValue& dict, const std::string& prefix, StateDict& state) const {
    LeftOut left_out;
    each(dict, [&](const PickleValue& key, const PickleValue& value) {
      const bool named = key.kind == Kind::text;
      if (named && is_tensor(value)) return take_tensor(prefix, key, value, state);
      if (named && value.kind == Kind::dict && key.text() == kMeta && !prefix.ends_with(kMetaStep))
        return take_module(value, prefix + std::string(kMetaStep), state);
      if (value.kind == Kind::none || value.kind == Kind::global) return;  // an option not taken, an element type
      const std::optional<WeightFact> fact = named ? fact_of(value) : std::nullopt;
      if (!fact)
        return left_out.add(named ? in_quotes(prefix + std::string(key.text())) : describe(key), describe(value));
      if (state.facts.size() >= kMaxWeightFacts)
        fail("more than " + std::to_string(kMaxWeightFacts) + " facts about modules", ErrorKind::limit_exceeded);
      state.facts.insert_or_assign(name_of(prefix, key), *fact);
    });
    left_out.note(state);
  }
  [[nodiscard]] std::optional<WeightFact> fact_of(const PickleValue& value) const {
    if (value.kind == Kind::integer || value.kind == Kind::boolean) return value.number;
    if (value.kind == Kind::real) {
      std::uint64_t bits = 0;
      for (const char byte : value.text()) bits = bits << 8 | static_cast<std::uint8_t>(byte);
      return std::bit_cast<double>(bits);
    }
    if (value.kind == Kind::text && value.text_bytes <= kMaxFactTextBytes) return std::string(value.text());
    if ((value.kind != Kind::tuple && value.kind != Kind::list) || value.item_count > kMaxFactExtents)
      return std::nullopt;
    std::vector<std::int64_t> extents;
    for (const PickleIndex index : pickle_.items(value)) {
      if (pickle_.at(index).kind != Kind::integer) return std::nullopt;
      extents.push_back(pickle_.at(index).number);
    }
    return extents;
  }

  const Pickle& pickle_;
  const TorchObjects& objects_;
  std::string_view where_;
  std::vector<Candidate> candidates_;
  std::size_t candidate_count_ = 0;
  std::set<const PickleValue*> seen_;
};

}  // namespace

StateDict find_state_dict(const Pickle& pickle, const TorchObjects& objects, std::string_view where) {
  return StateSearch(pickle, objects, where).run();
}

}  // namespace ingot::convert
