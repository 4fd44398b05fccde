#include "inspect/command_pages.h"

#include <algorithm>

namespace ingot::inspect {
namespace {

std::string usage_words(const CommandDescription& command) {
  std::string usage;
  if (!command.commands.empty()) usage += " COMMAND";
  for (const ArgumentDescription& argument : command.arguments) {
    usage += " " + argument.name;
    if (argument.repeated) usage += " [" + argument.name + "]";
  }
  for (const OptionDescription& option : command.options) {
    const std::string& name = option.short_name.empty() ? option.long_name : option.short_name;
    if (option.required) usage += " " + name + " " + option.value;
    if (!option.required && name == "-o") usage += " [" + name + " " + option.value + "]";  // where the result goes
  }
  return usage + " [options]";
}

/// "-o, --output OUT", "    --to LAYOUT".
std::string spelling(const OptionDescription& option) {
  std::string text = option.short_name.empty() ? "    " : option.short_name + (option.long_name.empty() ? "" : ", ");
  text += option.long_name;
  if (!option.value.empty()) text += " " + option.value;
  return text;
}

std::string full_help(const OptionDescription& option) {
  std::string text = option.help;
  std::string choices;
  for (const std::string& choice : option.choices) choices += (choices.empty() ? "" : ", ") + choice;
  const bool named = !option.choices.empty() && option.help.find(option.choices.front()) != std::string::npos;
  if (!choices.empty() && !named) text += ": " + choices;
  if (!option.default_text.empty()) text += " (default " + option.default_text + ")";
  return text;
}

/// Two columns: left texts, wrapped right texts.
std::string two_columns(const std::vector<std::pair<std::string, std::string>>& rows, const TextStyle& style) {
  constexpr std::size_t kIndent = 2, kGap = 2;
  std::size_t left_width = 0;
  for (const auto& [left, right] : rows) left_width = std::max(left_width, display_width(left));
  const std::size_t indent = kIndent + left_width + kGap;
  const std::size_t width = style.width > indent + 20 ? style.width - indent : 0;
  std::string text;
  for (const auto& [left, right] : rows) {
    text.append(kIndent, ' ');
    text += paint(left, Ink::strong, style);
    text.append(left_width - display_width(left) + kGap, ' ');
    text += wrap(right, width, indent) + "\n";
  }
  return text;
}

// --- man -----------------------------------------------------------------------------------------------------------
std::string roff(std::string_view text) {
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool line_start = i == 0 || text[i - 1] == '\n';
    if (line_start && (text[i] == '.' || text[i] == '\'')) escaped += "\\&";
    if (text[i] == '\\') {
      escaped += "\\e";
    } else if (text[i] == '-') {
      escaped += "\\-";
    } else {
      escaped += text[i];
    }
  }
  return escaped;
}

std::string man_options(const CommandDescription& command) {
  std::string text;
  for (const ArgumentDescription& argument : command.arguments)
    text += ".TP\n.I " + roff(argument.name) + "\n" + roff(argument.help) + "\n";
  for (const OptionDescription& option : command.options) {
    std::string names = "\\fB" + roff(option.short_name) + "\\fR";
    if (!option.short_name.empty() && !option.long_name.empty()) names += ", ";
    if (option.short_name.empty()) names.clear();
    if (!option.long_name.empty()) names += "\\fB" + roff(option.long_name) + "\\fR";
    if (!option.value.empty()) names += " \\fI" + roff(option.value) + "\\fR";
    text += ".TP\n" + names + "\n" + roff(full_help(option)) + "\n";
  }
  return text;
}

constexpr std::string_view kManTail = R"(.SH EXIT STATUS
.TP
.B 0
Good.
.TP
.B 1
The input is bad, a check failed, or the two models differ.
.TP
.B 2
The command line is wrong.
.TP
.B 3
A fault of this program.
.SH ENVIRONMENT
.TP
.B NO_COLOR
Set to anything: no colours on a terminal.
.TP
.B COLUMNS
Width of the tables, also when the output is no terminal.
.TP
.B INGOT_KERNELS
Forces a variant of the kernels: portable, avx2, avx512vnni or amx.
)";

// --- completion ----------------------------------------------------------------------------------------------------
std::string words(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& word : list) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::vector<std::string> option_names(const CommandDescription& command) {
  std::vector<std::string> names;
  for (const OptionDescription& option : command.options) {
    if (!option.short_name.empty()) names.push_back(option.short_name);
    if (!option.long_name.empty()) names.push_back(option.long_name);
  }
  return names;
}

bool takes_path(const OptionDescription& option) {
  return option.value == "OUT" || option.value == "FILE" || option.value == "DIR";
}

/// "convert:--to|convert:-t": the patterns of one option in bash's `case "$verb:$prev"`.
std::string bash_patterns(const CommandDescription& verb, const OptionDescription& option) {
  std::string patterns;
  for (const std::string& option_name : {option.short_name, option.long_name})
    if (!option_name.empty()) patterns += (patterns.empty() ? "" : "|") + verb.name + ":" + option_name;
  return patterns;
}

/// Inside single quotes and the [...] of zsh's _arguments.
std::string zsh_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\'') {
      escaped += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':' || c == '\\') escaped += '\\';
      escaped += c;
    }
  }
  return escaped;
}

std::string zsh_action(const OptionDescription& option) {
  if (option.value.empty()) return "";
  std::string action = ":" + zsh_text(option.value) + ":";
  if (!option.choices.empty()) return action + "(" + words(option.choices) + ")";
  return takes_path(option) ? action + "_files" : action + " ";
}

}  // namespace

std::string help_text(const CommandDescription& command, const std::string& parent, const TextStyle& style) {
  const std::string name = parent.empty() ? command.name : parent + " " + command.name;
  std::string text =
      wrap(name + " - " + command.summary, style.width, 2) + "\n\nUsage: " + name + usage_words(command) + "\n";
  std::vector<std::pair<std::string, std::string>> rows;
  for (const ArgumentDescription& argument : command.arguments) rows.emplace_back(argument.name, argument.help);
  if (!rows.empty()) text += "\n" + two_columns(rows, style);
  rows.clear();
  for (const CommandDescription& verb : command.commands) rows.emplace_back(verb.name, verb.summary);
  if (!rows.empty()) text += "\nCommands:\n" + two_columns(rows, style);
  rows.clear();
  for (const OptionDescription& option : command.options) rows.emplace_back(spelling(option), full_help(option));
  text += "\nOptions:\n" + two_columns(rows, style);
  if (!command.notes.empty()) text += "\n" + command.notes + "\n";
  return text;
}

std::string man_page(const CommandDescription& program, const std::string& version) {
  std::string text = ".TH INGOT 1 \"\" \"ingot " + roff(version) + "\" \"User Commands\"\n.SH NAME\n" + program.name +
                     " \\- " + roff(program.summary) + "\n.SH SYNOPSIS\n";
  for (const CommandDescription& verb : program.commands)
    text += "\\fB" + program.name + " " + verb.name + "\\fR" + roff(usage_words(verb)) + "\n.br\n";
  text += ".SH OPTIONS\n" + man_options(program) + ".SH COMMANDS\n";
  for (const CommandDescription& verb : program.commands) {
    text += ".SS " + program.name + " " + verb.name + "\n" + roff(verb.summary) + ".\n" + man_options(verb);
    if (!verb.notes.empty()) text += ".PP\n.nf\n" + roff(verb.notes) + "\n.fi\n";
  }
  text += kManTail;
  return text;
}

std::string bash_completion(const CommandDescription& program) {
  std::vector<std::string> verbs;
  for (const CommandDescription& verb : program.commands) verbs.push_back(verb.name);
  std::string values, options;
  for (const CommandDescription& verb : program.commands) {
    options +=
        "      " + verb.name + ") COMPREPLY=($(compgen -W '" + words(option_names(verb)) + "' -- \"$cur\")) ;;\n";
    for (const OptionDescription& option : verb.options) {
      if (option.value.empty() || takes_path(option)) continue;
      const std::string reply = option.choices.empty()
                                    ? "return"
                                    : "COMPREPLY=($(compgen -W '" + words(option.choices) + "' -- \"$cur\")); return";
      values += "    " + bash_patterns(verb, option) + ") " + reply + " ;;\n";
    }
  }
  return "# bash completion for ingot; load with: source <(ingot completion bash)\n"
         "_ingot() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= i\n"
         "  COMPREPLY=()\n"
         "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
         "    [[ ${COMP_WORDS[i]} != -* ]] && { verb=${COMP_WORDS[i]}; break; }\n"
         "  done\n"
         "  if [[ -z $verb ]]; then\n"
         "    COMPREPLY=($(compgen -W '" +
         words(verbs) + " " + words(option_names(program)) +
         "' -- \"$cur\"))\n"
         "    return\n"
         "  fi\n"
         "  case $verb:$prev in\n" +
         values +
         "  esac\n"
         "  if [[ $cur == -* ]]; then\n"
         "    case $verb in\n" +
         options +
         "    esac\n"
         "    return\n"
         "  fi\n"
         "  local IFS=$'\\n'\n"
         "  COMPREPLY=($(compgen -f -- \"$cur\"))\n"
         "}\n"
         "complete -o filenames -F _ingot ingot\n";
}

std::string zsh_completion(const CommandDescription& program) {
  std::string verbs, cases;
  for (const CommandDescription& verb : program.commands) {
    verbs += "    '" + verb.name + ":" + zsh_text(verb.summary) + "'\n";
    cases += "    " + verb.name + ")\n      _arguments";
    for (const OptionDescription& option : verb.options) {
      const std::string rest = "[" + zsh_text(option.help) + "]" + zsh_action(option) + "'";
      for (const std::string& option_name : {option.short_name, option.long_name})
        if (!option_name.empty()) cases += " \\\n        '" + option_name + rest;
    }
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return "#compdef ingot\n"
         "# zsh completion for ingot; put it as _ingot into a directory of $fpath\n"
         "_ingot() {\n"
         "  local -a verbs=(\n" +
         verbs +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command verbs\n"
         "    return\n"
         "  fi\n"
         "  local verb=${words[2]}\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $verb in\n" +
         cases +
         "  esac\n"
         "}\n"
         "if [[ $funcstack[1] == _ingot ]]; then\n"
         "  _ingot \"$@\"\n"
         "else\n"
         "  compdef _ingot ingot\n"
         "fi\n";
}

}  // namespace ingot::inspect
