#include "inspect/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "format/base/parallel.h"
#include "format/base/utf8.h"

namespace ingot {
namespace {

constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t interrupt_flag = 0;

void on_interrupt(int) {
  interrupt_flag = 1;
  for (const int signal : kEndingSignals) std::signal(signal, SIG_DFL);
}

std::uint32_t terminal_width(int descriptor) {
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// TERM=dumb: a terminal that cannot return to the beginning of a line.
bool is_dumb_terminal() {
  const char* term = std::getenv("TERM");
  return term != nullptr && std::string_view(term) == "dumb";
}

/// A terminal limits the width; COLUMNS does so for a pipe as well.
inspect::TextStyle style_of(int descriptor) {
  inspect::TextStyle style;
  const bool terminal = ::isatty(descriptor) == 1;
  if (terminal) style.width = terminal_width(descriptor);
  if (const char* columns = std::getenv("COLUMNS"); columns != nullptr) {
    constexpr unsigned long kLeast = 40, kMost = 1000;
    const unsigned long value = std::strtoul(columns, nullptr, 10);
    if (value > 0) style.width = static_cast<std::uint32_t>(std::clamp(value, kLeast, kMost));
  }
  const char* no_color = std::getenv("NO_COLOR");
  style.colour = terminal && !is_dumb_terminal() && (no_color == nullptr || *no_color == '\0');
  return style;
}

/// Whether everything was written.
bool write_all(std::FILE* file, std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
}

/// `document` with the error as its member.
Json error_document(std::string_view kind, std::string_view message, std::uint64_t offset, Json document = Json()) {
  Json details;
  details.set("kind", kind);
  details.set("message", to_valid_utf8(message));
  if (offset != Error::kNoOffset) details.set("offset", offset);
  document.set("error", std::move(details));
  return document;
}

}  // namespace

Console::Console()
    : stdin_is_terminal_(::isatty(STDIN_FILENO) == 1),
      shows_progress_(::isatty(STDERR_FILENO) == 1 && !is_dumb_terminal()),
      style_(style_of(STDOUT_FILENO)),
      error_style_(style_of(STDERR_FILENO)) {}

void Console::add_common_options(CLI::App& command) {
  command.add_flag("--json", json_, "Print one JSON document instead of text");
  command
      .add_option_function<int>(
          "--threads", [](const int& count) { set_thread_count(count); }, "Threads to use (default: all cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void Console::print(std::string_view text) {
  end_progress();
  if (!write_all(stdout, text)) throw Error(ErrorKind::io, "cannot write to the standard output");
  if (!text.empty()) line_is_open_ = text.back() != '\n';
}

void Console::print_json(const Json& value) { print(pretty_json(value)); }

void Console::note(std::string_view text) {
  end_progress();
  (void)write_all(stderr, std::string(text) + "\n");
}

void Console::note_findings(const std::vector<std::string>& findings) {
  for (const std::string& finding : findings)
    note(inspect::paint("finding:", inspect::Ink::warning, error_style_) + " " + inspect::printable(finding));
}

Progress Console::progress() {
  return [this](std::string_view phase, std::uint64_t done, std::uint64_t total) {
    if (interrupted()) throw Interrupted{};
    if (shows_progress_) draw(phase, done, total);
  };
}

void Console::draw(std::string_view phase, std::uint64_t done, std::uint64_t total) {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  constexpr std::size_t kMostBarWidth = 20;
  const Clock::time_point now = Clock::now();
  if (phase != phase_) {
    phase_ = phase;
    phase_start_ = last_drawn_ = now;
    return;  // short work shows no bar at all
  }
  if (now - last_drawn_ < kInterval) return;
  last_drawn_ = now;
  const double share = total == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const double seconds = std::chrono::duration<double>(now - phase_start_).count();
  std::string line = inspect::fixed(100 * share, 0) + " %  " + inspect::human_bytes(done) + " of " +
                     inspect::human_bytes(total) + "  " + inspect::human_rate(static_cast<double>(done), seconds);
  if (share > 0) line += "  " + inspect::human_seconds(seconds / share * (1 - share)) + " left";
  const std::size_t width = error_style_.width > 1 ? error_style_.width - 1 : 79;
  const std::size_t others = phase_.size() + std::string_view("  [] ").size() + line.size();
  const std::size_t bar = std::min(kMostBarWidth, width - std::min(width, others));
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(bar));
  line = phase_ + "  [" + std::string(filled, '#') + std::string(bar - filled, '.') + "] " + line;
  line.resize(std::min(line.size(), width));
  const std::size_t columns = line.size();
  line.resize(std::max(columns, bar_width_), ' ');  // over the rest of the last one
  (void)write_all(stderr, "\r" + line);
  bar_width_ = columns;
}

void Console::end_progress() {
  phase_.clear();
  if (bar_width_ == 0) return;
  (void)write_all(stderr, "\r" + std::string(bar_width_, ' ') + "\r");
  bar_width_ = 0;
}

void Console::catch_interrupts() {
  interrupt_flag = 0;
  for (const int signal : kEndingSignals) std::signal(signal, on_interrupt);
}

bool Console::interrupted() noexcept { return interrupt_flag != 0; }

void Console::let_interrupts_end() {
  interrupt_flag = 0;
  for (const int signal : kEndingSignals) std::signal(signal, SIG_DFL);
}

void Console::report(const Error& error, Json done) {
  note_error(error.what());
  if (json_) print_json(error_document(error_kind_name(error.kind), error.what(), error.offset, std::move(done)));
}

void Console::report(std::string_view kind, std::string_view message, std::string_view hint) {
  note_error(message);
  if (!hint.empty()) note(hint);
  if (json_) print_json(error_document(kind, message, Error::kNoOffset));
}

void Console::note_error(std::string_view message) {
  if (line_is_open_) (void)write_all(stdout, "\n");  // a prompt that was printed to be continued
  line_is_open_ = false;
  note(inspect::paint("ingot:", inspect::Ink::bad, error_style_) + " " + inspect::printable(message));
}

}  // namespace ingot
