// Regular expressions over tensor names, from the command line and from configs, whose matching always ends soon.
#pragma once

#include <regex>
#include <stdexcept>
#include <string>

namespace ingot::convert {

/// Says why a pattern is not taken: "no regular expression".
struct PatternError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// ECMAScript without back-references and without a look ahead inside another. Matching takes time in the product of
/// the lengths of pattern and name (with a look ahead: of the name twice), whatever is nested: (x*)*Z too. Counted
/// repetitions, which lengthen the pattern, may multiply to 256 at most.
class NamePattern {
 public:
  /// Throws PatternError.
  explicit NamePattern(const std::string& pattern);

  /// Is there a match anywhere in the name? Never in one of more than 1,024 bytes, which no tensor has.
  [[nodiscard]] bool is_in(const std::string& name) const;
  /// At its beginning, as Python's re.match.
  [[nodiscard]] bool begins(const std::string& name) const;

 private:
  [[nodiscard]] bool search(const std::string& name, std::regex_constants::match_flag_type flags) const;
  std::regex pattern_;
};

/// Is there a match of `pattern` in the name? None of an empty one. Throws OptionError, naming `option`, for what is no
/// regular expression.
[[nodiscard]] bool name_matches(const std::string& name, const std::string& pattern, const char* option);

}  // namespace ingot::convert
