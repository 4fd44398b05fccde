// The front door: subcommands -> one library call -> print. The verbs live in the commands.cpp of their folders.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "converters/commands.h"
#include "format/base/error.h"
#include "format/base/file_errors.h"
#include "format/container/commands.h"
#include "inspect/command_pages.h"
#include "inspect/commands.h"
#include "inspect/console.h"
#include "runtime/commands.h"

namespace {

namespace inspect = ingot::inspect;
using ingot::Console;
using ingot::ExitCode;
using inspect::CommandDescription;
using inspect::OptionDescription;

constexpr std::string_view kHiddenGroup;  // CLI11 leaves an empty group out of everything

/// "{a,b}" in the description of an IsMember validator.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
}

/// "OUT" of "OUT", "LAYOUT" of "LAYOUT:{hf,gguf}".
std::string value_name(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  const std::string type = option.get_type_name();
  return type.substr(0, type.find(':'));
}

OptionDescription describe(const CLI::Option& option) {
  OptionDescription description;
  if (!option.get_snames().empty()) description.short_name = "-" + option.get_snames().front();
  if (!option.get_lnames().empty()) description.long_name = "--" + option.get_lnames().front();
  description.value = value_name(option);
  description.help = option.get_description();
  description.default_text = option.get_default_str();
  description.choices = choices_of(option);
  description.required = option.get_required();
  return description;
}

CommandDescription describe(const CLI::App& app) {
  CommandDescription description;
  description.name = app.get_name();
  description.summary = app.get_description();
  description.notes = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group() == kHiddenGroup) continue;
    if (option->get_positional()) {
      description.arguments.push_back({option->get_name(true), option->get_description(), option->get_required(),
                                       option->get_items_expected_max() > 1});
    } else {
      description.options.push_back(describe(*option));
    }
  }
  for (const CLI::App* verb : app.get_subcommands({}))
    if (verb->get_group() != kHiddenGroup) description.commands.push_back(describe(*verb));
  return description;
}

/// --help from the same description as the man page.
class HelpFormatter : public CLI::FormatterBase {
 public:
  explicit HelpFormatter(const inspect::TextStyle& style) : style_(style) {
    constexpr std::uint32_t kReadable = 100;
    if (style_.width == 0 || style_.width > kReadable) style_.width = kReadable;
  }
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    return inspect::help_text(describe(*app), app->get_parent() == nullptr ? "" : app->get_parent()->get_name(),
                              style_);
  }

 private:
  inspect::TextStyle style_;
};

/// `ingot completion SHELL` and `ingot man`: for packagers and shell start files, not listed in --help.
void add_page_commands(CLI::App& app, Console& console) {
  CLI::App* completion =
      app.add_subcommand("completion", "Print the completion script of a shell")->group(std::string(kHiddenGroup));
  completion->add_subcommand("bash", "For bash")->callback([&] {
    console.print(inspect::bash_completion(describe(app)));
  });
  completion->add_subcommand("zsh", "For zsh")->callback([&] {
    console.print(inspect::zsh_completion(describe(app)));
  });
  completion->require_subcommand(1);
  CLI::App* man = app.add_subcommand("man", "Print the manual page in roff")->group(std::string(kHiddenGroup));
  man->callback([&] { console.print(inspect::man_page(describe(app), INGOT_VERSION)); });
}

/// An empty word where a file or directory belongs (an unset variable of a script) is a mistake of the command line.
void require_names_of_files(CLI::App& app) {
  constexpr std::string_view kFiles[] = {"FILE", "DIR", "OUT", "MODEL"};
  const CLI::Validator named([](std::string& word) { return word.empty() ? "the name is empty" : ""; }, "");
  for (CLI::App* verb : app.get_subcommands({})) {
    for (CLI::Option* option : verb->get_options()) {
      if (option->get_positional() || std::ranges::find(kFiles, value_name(*option)) != std::end(kFiles))
        option->check(named);
    }
  }
}

/// CLI11 calls an unknown verb, and one after an unknown option, a missing one.
void require_known_command(const CLI::App& app, const std::string& word) {
  if (word.starts_with('-')) {
    if (app.get_option_no_throw(word) != nullptr) return;
    throw CLI::ValidationError("unknown option '" + word + "' before the command");
  }
  for (const CLI::App* verb : app.get_subcommands({}))
    if (verb->get_name() == word) return;
  throw CLI::ValidationError("unknown command '" + word + "'");
}

ExitCode run(int argc, char** argv, Console& console) {
  CLI::App app("looks into, converts, verifies and runs language-model checkpoints", "ingot");
  app.formatter(std::make_shared<HelpFormatter>(console.style()));
  app.set_version_flag("--version", "ingot " INGOT_VERSION, "Print the version");
  app.get_help_ptr()->description("Print this help");
  app.require_subcommand(1);
  app.footer("'ingot COMMAND --help' shows the options of a command, with examples.");
  inspect::add_commands(app, console);
  ingot::convert::add_commands(app, console);
  ingot::runtime::add_commands(app, console);
  ingot::container::add_commands(app, console);
  add_page_commands(app, console);
  for (CLI::App* verb : app.get_subcommands({})) verb->get_help_ptr()->description("Print this help");
  require_names_of_files(app);
  if (argc < 2) {
    console.note(app.help());
    return ExitCode::usage;
  }
  try {
    require_known_command(app, argv[1]);
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    const int code = app.exit(wanted);
    if (!std::cout.flush()) throw ingot::Error(ingot::ErrorKind::io, "cannot write to the standard output");
    return static_cast<ExitCode>(code);
  } catch (const CLI::ParseError& error) {
    const std::vector<CLI::App*> verbs = app.get_subcommands();
    const std::string verb = verbs.empty() ? std::string() : " " + verbs.front()->get_name();
    const std::span words(argv, static_cast<std::size_t>(argc));
    if (std::find(words.begin(), words.end(), std::string_view("--json")) != words.end()) console.prefer_json();
    console.report("usage", error.what(), "Try 'ingot" + verb + " --help'.");
    return ExitCode::usage;
  }
  return console.exit_code;
}

/// A report that cannot be written (the output is full or closed) leaves the exit status alone to tell.
template <class... Report>
ExitCode fail(Console& console, ExitCode code, const Report&... report) noexcept {
  try {
    console.report(report...);
  } catch (const std::exception&) {
  }
  return code;
}

ExitCode run_guarded(int argc, char** argv, Console& console) {
  try {
    return run(argc, argv, console);
  } catch (const ingot::Interrupted&) {
    return fail(console, ExitCode::interrupted, "interrupted", "interrupted");
  } catch (const ingot::Error& error) {
    return fail(console, ExitCode::failed, error);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(console, ExitCode::failed, ingot::as_error(error));
  } catch (const std::bad_alloc&) {
    return fail(console, ExitCode::internal, "out_of_memory", "out of memory");
  } catch (const std::exception& error) {
    return fail(console, ExitCode::internal, "internal", "internal error: " + std::string(error.what()));
  }
}

/// Conversions allocate and free buffers of the size of a tensor, one tensor after the other: memory that went back to
/// the system each time would come back page by page, cleared, which took a quarter of the time of repacking.
void keep_freed_memory() noexcept {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files then is an error like a full disk
  Console console;
  return static_cast<int>(run_guarded(argc, argv, console));
}
