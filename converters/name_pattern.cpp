#include "converters/name_pattern.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "converters/option_error.h"

namespace ingot::convert {
namespace {

constexpr std::size_t kMaxPatternBytes = 1024, kMaxNameBytes = 1024;
constexpr std::uint64_t kMaxRepetitions = 256;

/// The product of what stands as {n} and {m,n}: how often a part of the pattern is written out.
std::uint64_t repetitions(const std::string& pattern) {
  std::uint64_t product = 1;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      ++i;
      continue;
    }
    if (pattern[i] != '{') continue;
    std::uint64_t number = 0, largest = 1;
    for (++i; i < pattern.size() && pattern[i] != '}'; ++i) {
      const bool digit = pattern[i] >= '0' && pattern[i] <= '9';
      number = digit ? std::min(number * 10 + static_cast<std::uint64_t>(pattern[i] - '0'), kMaxRepetitions + 1) : 0;
      largest = std::max(largest, number);
    }
    product = std::min(product * largest, kMaxRepetitions + 1);
  }
  return product;
}

/// A look ahead begins a search of its own at every place: one within another, and so on, takes the length of the name
/// to the power of their number.
bool nests_looks_ahead(const std::string& pattern) {
  std::vector<bool> open;  // groups: is it a look ahead?
  bool in_set = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (in_set) {
      in_set = c != ']';
    } else if (c == '[') {
      in_set = true;
    } else if (c == '(') {
      const bool ahead = pattern.compare(i, 3, "(?=") == 0 || pattern.compare(i, 3, "(?!") == 0;
      if (ahead && std::ranges::find(open, true) != open.end()) return true;
      open.push_back(ahead);
    } else if (c == ')' && !open.empty()) {
      open.pop_back();
    }
  }
  return false;
}

std::regex compile(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes)
    throw PatternError("longer than " + std::to_string(kMaxPatternBytes) + " bytes");
  if (repetitions(pattern) > kMaxRepetitions)
    throw PatternError("its counted repetitions multiply to more than " + std::to_string(kMaxRepetitions));
  if (nests_looks_ahead(pattern)) throw PatternError("it looks ahead within a look ahead, which may take forever");
  auto flags = std::regex_constants::ECMAScript;
#ifdef __GLIBCXX__
  flags |= std::regex_constants::__polynomial;  // all ways at once instead of one after the other
#endif
  try {
    return std::regex(pattern, flags);
  } catch (const std::regex_error& error) {
    throw PatternError(error.code() == std::regex_constants::error_complexity
                           ? "back-references are not understood, because searching for them may take forever"
                           : "no regular expression");
  }
}

}  // namespace

NamePattern::NamePattern(const std::string& pattern) : pattern_(compile(pattern)) {}

bool NamePattern::search(const std::string& name, std::regex_constants::match_flag_type flags) const {
  return name.size() <= kMaxNameBytes && std::regex_search(name, pattern_, flags);
}
bool NamePattern::is_in(const std::string& name) const { return search(name, std::regex_constants::match_default); }
bool NamePattern::begins(const std::string& name) const { return search(name, std::regex_constants::match_continuous); }

bool name_matches(const std::string& name, const std::string& pattern, const char* option) {
  if (pattern.empty()) return false;
  try {
    return NamePattern(pattern).is_in(name);
  } catch (const PatternError& error) {
    throw OptionError(std::string(option) + " '" + pattern + "': " + error.what());
  }
}

}  // namespace ingot::convert
