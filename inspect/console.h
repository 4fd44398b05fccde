// The front door's side of a terminal: what ingot.cpp and the folders' commands.cpp share. The only place that prints.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/error.h"
#include "format/base/json.h"
#include "format/base/progress.h"
#include "inspect/text.h"

namespace CLI {
class App;
}

namespace ingot {

/// Exit codes of the program.
enum class ExitCode : int { good = 0, failed = 1, usage = 2, internal = 3, interrupted = 130 };

/// Thrown by the progress callback after Ctrl-C, so that unfinished output is removed on the way out.
struct Interrupted {};

/// One per process. Commands write through it and leave their exit code in it.
class Console {
 public:
  Console();

  /// Options that every verb has: --json and --threads.
  void add_common_options(CLI::App& command);

  [[nodiscard]] bool json() const noexcept { return json_; }
  [[nodiscard]] bool stdin_is_terminal() const noexcept { return stdin_is_terminal_; }
  [[nodiscard]] const inspect::TextStyle& style() const noexcept { return style_; }
  [[nodiscard]] const inspect::TextStyle& error_style() const noexcept { return error_style_; }

  /// As --json does; for errors of a command line that could not be read.
  void prefer_json() noexcept { json_ = true; }

  void print(std::string_view text);   // stdout, flushed
  void print_json(const Json& value);  // stdout, one document
  void note(std::string_view text);    // stderr, a line
  /// What reading a model found against its metadata: a line each on stderr.
  void note_findings(const std::vector<std::string>& findings);
  /// Draws a bar on stderr when that is a terminal and not a dumb one, without escapes; throws Interrupted after
  /// Ctrl-C. The console must outlive it.
  [[nodiscard]] Progress progress();
  void end_progress();  // removes the bar

  /// From here on Ctrl-C sets a flag instead of ending the process; a second one ends it.
  static void catch_interrupts();
  [[nodiscard]] static bool interrupted() noexcept;
  static void let_interrupts_end();  // the process, as by default

  /// Reports an error on stderr (and as a document on stdout with --json, beside the members of `done`).
  void report(const Error& error, Json done = Json());
  /// The same for what is no Error: `kind` is the word in the document, `hint` a line after the message on stderr.
  void report(std::string_view kind, std::string_view message, std::string_view hint = {});

  ExitCode exit_code = ExitCode::good;

 private:
  void note_error(std::string_view message);
  void draw(std::string_view phase, std::uint64_t done, std::uint64_t total);

  using Clock = std::chrono::steady_clock;
  bool json_ = false;
  bool stdin_is_terminal_, shows_progress_;
  inspect::TextStyle style_, error_style_;
  std::string phase_;
  Clock::time_point phase_start_, last_drawn_;
  std::size_t bar_width_ = 0;  // columns that it takes on the screen
  bool line_is_open_ = false;  // the standard output ends within a line
};

}  // namespace ingot
