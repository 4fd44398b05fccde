#include "inspect/fold.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace ingot::inspect {
namespace {

struct SplitName {
  std::string pattern;  // numbers replaced by NUL
  std::vector<std::uint64_t> numbers;
};

/// Components between dots that are decimal numbers (no leading zero, so that the name can be rebuilt) become holes.
SplitName split_name(const std::string& name) {
  constexpr std::size_t kMaxDigits = 9;
  SplitName split;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view component = std::string_view(name).substr(begin, end - begin);
    const bool digits = !component.empty() && component.size() <= kMaxDigits &&
                        component.find_first_not_of("0123456789") == std::string_view::npos &&
                        (component.size() == 1 || component[0] != '0');
    if (begin > 0) split.pattern += '.';
    if (digits) {
      split.numbers.push_back(std::stoull(std::string(component)));
      split.pattern += '\0';
    } else {
      split.pattern += component;
    }
    begin = end + 1;
  }
  return split;
}

/// "{0..29}", "{0,2,5..9}".
std::string ranges(const std::set<std::uint64_t>& numbers) {
  std::string text;
  for (auto it = numbers.begin(); it != numbers.end();) {
    const std::uint64_t first = *it;
    std::uint64_t last = first;
    while (++it != numbers.end() && *it == last + 1) last = *it;
    text += text.empty() ? "" : ",";
    text += std::to_string(first);
    if (last == first + 1) text += "," + std::to_string(last);
    if (last > first + 1) text += ".." + std::to_string(last);
  }
  return "{" + text + "}";
}

std::string folded_name(const std::string& pattern, const std::vector<std::vector<std::uint64_t>>& members) {
  std::string name;
  std::size_t hole = 0;
  for (const char c : pattern) {
    if (c != '\0') {
      name += c;
      continue;
    }
    std::set<std::uint64_t> numbers;
    for (const std::vector<std::uint64_t>& member : members) numbers.insert(member[hole]);
    name += numbers.size() == 1 ? std::to_string(*numbers.begin()) : ranges(numbers);
    ++hole;
  }
  return name;
}

}  // namespace

std::vector<NameGroup> fold_names(const std::vector<NamedItem>& items, bool fold) {
  std::vector<NameGroup> groups;
  if (!fold) {
    for (std::size_t i = 0; i < items.size(); ++i) groups.push_back({items[i].name, {i}});
    return groups;
  }
  std::map<std::pair<std::string, std::string>, std::size_t> index;  // (pattern, key) -> group
  std::vector<std::vector<std::vector<std::uint64_t>>> numbers;      // by group, by member
  std::vector<std::string> patterns;
  for (std::size_t i = 0; i < items.size(); ++i) {
    SplitName split = split_name(items[i].name);
    const auto [found, added] = index.emplace(std::pair(split.pattern, items[i].key), groups.size());
    if (added) {
      groups.emplace_back();
      numbers.emplace_back();
      patterns.push_back(split.pattern);
    }
    groups[found->second].members.push_back(i);
    numbers[found->second].push_back(std::move(split.numbers));
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const bool single = groups[i].members.size() == 1;
    groups[i].pattern = single ? items[groups[i].members.front()].name : folded_name(patterns[i], numbers[i]);
  }
  return groups;
}

}  // namespace ingot::inspect
