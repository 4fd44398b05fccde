#include "runtime/peer.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "format/base/error.h"
#include "format/base/json.h"
#include "format/base/parallel.h"

namespace ingot::runtime {
namespace {

constexpr std::size_t kMostOutput = 1u << 20;

[[noreturn]] void fail(const std::filesystem::path& program, const std::string& what) {
  throw Error(ErrorKind::io, program.string() + ": " + what);
}

struct ClosedAtEnd {
  explicit ClosedAtEnd(int open_descriptor) noexcept : descriptor(open_descriptor) {}
  ClosedAtEnd(const ClosedAtEnd&) = delete;
  ClosedAtEnd& operator=(const ClosedAtEnd&) = delete;
  ~ClosedAtEnd() { ::close(descriptor); }
  int descriptor;
};

/// Starts a program whose standard output goes to a descriptor. Signals that this one ignores are not ignored there.
pid_t start(const std::filesystem::path& program, const std::vector<std::string>& arguments, int output) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t all;
  ::sigfillset(&all);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, words[0].c_str(), &actions, &attributes, pointers.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail(program, std::string("cannot be started: ") + std::strerror(error));
  return child;
}

std::string ending(int status) {
  return WIFSIGNALED(status) ? "was ended by signal " + std::to_string(WTERMSIG(status))
                             : "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

/// The standard output of a program that ends well.
std::string output_of(const std::filesystem::path& program, const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(program, "cannot make a pipe");
  std::optional<ClosedAtEnd> reading(ends[0]), writing(ends[1]);
  const pid_t child = start(program, arguments, ends[1]);
  writing.reset();
  std::string output;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || output.size() > kMostOutput) break;
    output.append(buffer.data(), static_cast<std::size_t>(got));
  }
  reading.reset();  // a program that goes on writing ends by it
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output;
  std::string words;
  for (const std::string& argument : arguments) words += " " + argument;
  fail(program, ending(status) + " (its arguments:" + words + ")");
}

}  // namespace

RoundSpeed time_llama_bench(const std::filesystem::path& program, const std::filesystem::path& model,
                            std::uint64_t prompt_tokens, std::uint64_t new_tokens) {
  const std::string output =
      output_of(program, {"-m", model.string(), "-t", std::to_string(thread_count()), "-p",
                          std::to_string(prompt_tokens), "-n", std::to_string(new_tokens), "-r", "1", "-o", "json"});
  const std::string where = program.string() + ": output";
  const Json document = parse_json(output, where);
  RoundSpeed result;
  for (const Json& row : document.as_array(where)) {
    const double nanoseconds = row.at("avg_ns", where).as_double(where);
    const std::uint64_t generated = row.at("n_gen", where).as_u64(where);
    if (generated == 0) {
      result.prompt_seconds = nanoseconds / 1e9;
    } else {
      result.token_seconds = nanoseconds / 1e9 / static_cast<double>(generated);
    }
  }
  if (result.token_seconds <= 0)
    throw Error(ErrorKind::invalid_value, where + ": expected a row of generated tokens, got none");
  return result;
}

}  // namespace ingot::runtime
