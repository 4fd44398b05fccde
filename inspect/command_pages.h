// The pages about the command line itself, all from one description of it: --help, the man page, completion for bash
// and zsh.
#pragma once

#include <string>
#include <vector>

#include "inspect/text.h"

namespace ingot::inspect {

struct OptionDescription {
  std::string short_name, long_name;  // "-o", "--output"; either may be empty
  std::string value;                  // "OUT"; empty for a flag
  std::string help;
  std::string default_text;          // shown when not empty
  std::vector<std::string> choices;  // all legal values, when they are known
  bool required = false;
};

struct ArgumentDescription {
  std::string name, help;
  bool required = false, repeated = false;
};

/// The program (with its verbs) or one verb.
struct CommandDescription {
  std::string name, summary;
  std::string notes;  // paragraphs and examples below the options
  std::vector<ArgumentDescription> arguments;
  std::vector<OptionDescription> options;
  std::vector<CommandDescription> commands;
};

/// `parent`: the words before the name ("ingot" for a verb, empty for the program).
[[nodiscard]] std::string help_text(const CommandDescription& command, const std::string& parent,
                                    const TextStyle& style);
[[nodiscard]] std::string man_page(const CommandDescription& program, const std::string& version);
[[nodiscard]] std::string bash_completion(const CommandDescription& program);
[[nodiscard]] std::string zsh_completion(const CommandDescription& program);

}  // namespace ingot::inspect
