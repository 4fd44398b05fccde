// --delete-source-as-read: the files of a source go as they are converted, at no moment is there neither a file nor
// what was made of it, and what is continued after a kill ends with the bytes of an uninterrupted run.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "container_models.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "layer_of_floats.h"
#include "temporary_directory.h"

using namespace ingot;

namespace {

namespace fs = std::filesystem;
using test::Files, test::files_in;

constexpr std::uint64_t kShardBytes = 5'000'000;

void put(const Files& files, const fs::path& directory) {
  fs::remove_all(directory);
  for (const auto& [name, bytes] : files) {
    fs::create_directories((directory / name).parent_path());
    test::write_bytes(directory / name, bytes);
  }
}

/// Tensors with and without holes in the skeletons.
tensor::Model float_model() { return test::layer_of_floats(64, 512, 1024, 8); }

convert::ConvertOptions options_to(const std::string& layout, std::uint64_t shard_bytes) {
  convert::ConvertOptions options;
  options.to = layout;
  options.write.shard_bytes = shard_bytes;
  return options;
}

/// Checkpoints of several files: plain, GPTQ, GGUF.
struct Source {
  std::string name;
  std::string model;  // what is opened, inside the directory of the source; empty: that
  Files files;
  std::uint64_t shard_bytes;
};

Source source_of(const std::string& name, const tensor::Model& model, const std::string& layout,
                 const std::string& output, std::uint64_t source_shard_bytes, std::uint64_t shard_bytes) {
  const test::TemporaryDirectory directory;
  convert::ConvertOptions options = options_to(layout, source_shard_bytes);
  options.allow = convert::ProofClass::requantized;
  (void)convert::convert(model, directory.path() / output, options);
  if (layout != "gguf") return {name, "", files_in(directory.path() / output), shard_bytes};
  Files files = files_in(directory.path());
  std::string first = files.begin()->first;
  return {name, std::move(first), std::move(files), shard_bytes};
}

std::vector<Source> sources() {
  return {source_of("hf", float_model(), "hf", "source", 3'000'000, kShardBytes),
          source_of("hf, one .ingot", float_model(), "hf", "source", 3'000'000, 0),
          source_of("gguf", float_model(), "gguf", "source.gguf", 3'000'000, 2'500'000),
          source_of("gptq", float_model(), "gptq", "source", 300'000, 400'000)};
}

convert::ConvertOptions removing(std::uint64_t shard_bytes, bool resume) {
  convert::ConvertOptions options = options_to("ingot", shard_bytes);
  options.delete_source = true;
  options.resume = resume;
  return options;
}

/// Calls `step` before each write, while it lives.
struct WriteSteps {
  explicit WriteSteps(const std::function<void()>& step) {
    container::set_write_fault_hook([&step](std::uint64_t) {
      step();
      return true;
    });
  }
  ~WriteSteps() { container::set_write_fault_hook(nullptr); }
  WriteSteps(const WriteSteps&) = delete;
  WriteSteps& operator=(const WriteSteps&) = delete;
};

convert::ConversionReport run(
    const Source& source, const fs::path& directory, bool resume, const std::function<void()>& step = [] {}) {
  const convert::ConvertOptions options = removing(source.shard_bytes, resume);
  const WriteSteps counted(step);
  const fs::path path = source.model.empty() ? directory / "in" : directory / "in" / source.model;
  const tensor::Model model = convert::read_remaining_model(path, directory / "out.ingot", {}, {});
  return convert::convert(model, directory / "out.ingot", options);
}

/// SIGKILL at step `last` in a process of its own; false when it ended before.
bool killed_at(std::uint64_t last, const Source& source, const fs::path& directory, bool resume) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::atomic<std::uint64_t> now{0};
    try {
      (void)run(source, directory, resume, [&] { now++ == last ? ::kill(::getpid(), SIGKILL) : 0; });
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE((WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0)));
  return WIFSIGNALED(status);
}

Files output_in(const fs::path& directory) {
  Files files;
  for (auto& [name, bytes] : files_in(directory))
    if (!name.starts_with("in/")) files[name] = std::move(bytes);
  return files;
}

/// Files of the source that are gone.
std::size_t gone(const Source& source, const fs::path& directory) {
  std::size_t count = 0;
  for (const auto& [name, bytes] : source.files) {
    const fs::path file = directory / "in" / name;
    if (fs::exists(file)) {
      CHECK(test::read_bytes(file) == bytes);
    } else {
      ++count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("a_source_that_goes_as_it_is_read_survives_kills_at_any_moment_in_its_output") {
  const test::WithThreads one_thread(1);  // forked children have no workers
  constexpr int kMoments = 6;
  test::Random random(20261122);
  for (const Source& source : sources()) {
    CAPTURE(source.name);
    REQUIRE(source.files.size() > 2);
    const test::TemporaryDirectory whole, directory;
    put(source.files, whole / "in");
    std::uint64_t steps = 0;
    CHECK(run(source, whole.path(), false, [&] { ++steps; }).proven);
    const Files expected = output_in(whole.path());
    CHECK(gone(source, whole.path()) == source.files.size());
    if (source.model.empty()) CHECK(!fs::exists(whole / "in"));
    (void)convert::restore(convert::read_model(whole / "out.ingot"), whole / "back", false, {});
    CHECK(files_in(whole / "back") == source.files);

    int killed = 0, half_gone = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
      for (const auto& entry : fs::directory_iterator(directory.path())) fs::remove_all(entry);
      put(source.files, directory / "in");
      bool again = false, ended = false;
      for (int attempt = 0; attempt < 3 && !ended; ++attempt) {  // the resumed ones are killed too
        ended = !killed_at(random.below(steps), source, directory.path(), again);
        again = true;
        killed += !ended;
        const std::size_t count = gone(source, directory.path());
        half_gone += count > 0 && count < source.files.size();
        ended |= fs::exists(directory / "out.ingot");  // killed when all was done
      }
      if (!ended) CHECK(run(source, directory.path(), true).proven);
      std::error_code ignored;
      fs::remove_all(directory / ".out.ingot.partial", ignored);
      CHECK(output_in(directory.path()) == expected);
    }
    CHECK(killed > kMoments / 2);
    if (source.shard_bytes != 0) CHECK(half_gone > 0);
    MESSAGE(source.name << ": " << steps << " steps, killed " << killed << " times, " << half_gone
                        << " times with part of the source");
  }
}

namespace {

/// A run of the first source that is killed when some of the source is gone.
Source half_removed(const fs::path& directory) {
  const test::WithThreads one_thread(1);
  Source source = sources().front();
  const test::TemporaryDirectory whole;
  put(source.files, whole / "in");
  std::uint64_t steps = 0;
  (void)run(source, whole.path(), false, [&] { ++steps; });
  for (std::uint64_t step = steps / 2;; step += steps / 16) {
    fs::remove_all(directory / ".out.ingot.partial");
    put(source.files, directory / "in");
    REQUIRE(killed_at(step, source, directory, false));
    if (gone(source, directory) > 0) return source;
  }
}

}  // namespace

TEST_CASE("what_was_made_of_removed_files_is_not_thrown_away") {
  const test::TemporaryDirectory directory;
  const Source source = half_removed(directory.path());
  SUBCASE("by starting anew") {
    const tensor::Model model = convert::read_remaining_model(directory / "in", directory / "out.ingot", {}, {});
    const std::optional<Error> error = test::error_of(
        [&] { (void)convert::convert(model, directory / "out.ingot", removing(source.shard_bytes, false)); });
    REQUIRE(error.has_value());
    CHECK(std::string(error->what()).find("only --resume goes on") != std::string::npos);
  }
  SUBCASE("by other options") {
    const tensor::Model model = convert::read_remaining_model(directory / "in", directory / "out.ingot", {}, {});
    const std::optional<Error> error = test::error_of(
        [&] { (void)convert::convert(model, directory / "out.ingot", removing(source.shard_bytes + 1, true)); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::mismatch);
  }
  CHECK(run(source, directory.path(), true).proven);
  (void)convert::restore(convert::read_model(directory / "out.ingot"), directory / "back", false, {});
  CHECK(files_in(directory / "back") == source.files);
}

TEST_CASE("damage_to_what_was_made_of_a_removed_file_is_an_error") {
  const test::TemporaryDirectory directory;
  const Source source = half_removed(directory.path());
  for (const auto& entry : fs::recursive_directory_iterator(directory / ".out.ingot.partial/files")) {
    if (!entry.is_regular_file()) continue;
    std::vector<std::byte> bytes = test::read_bytes(entry.path());
    for (std::byte& byte : bytes) byte ^= std::byte{0x10};
    test::write_bytes(entry.path(), bytes);
  }
  const std::optional<Error> error = test::error_of([&] { (void)run(source, directory.path(), true); });
  REQUIRE(error.has_value());
  CHECK(std::string(error->what()).find("was removed after its conversion") != std::string::npos);
  CHECK(!fs::exists(directory / "out.ingot"));
}

TEST_CASE("nothing_is_removed_when_the_values_are_not_those_of_the_source") {
  const test::TemporaryDirectory directory;
  const Source source = sources().front();
  put(source.files, directory / "in");
  tensor::Model model = convert::read_model(directory / "in");
  model.tensors.front().fingerprint = Hash128{};
  CHECK_THROWS_AS((void)convert::convert(model, directory / "out.ingot", removing(kShardBytes, false)), Error);
  CHECK(files_in(directory / "in") == source.files);
  CHECK(!fs::exists(directory / ".out.ingot.partial"));
}

TEST_CASE("sources_that_cannot_go_file_by_file_are_refused") {
  const test::TemporaryDirectory directory;
  const Source source = sources().front();
  put(source.files, directory / "in");
  convert::ConvertOptions options = removing(kShardBytes, false);
  const auto message = [&] {
    const tensor::Model model = convert::read_model(directory / "in");
    const std::optional<Error> error =
        test::error_of([&] { (void)convert::convert(model, directory / "out.ingot", options); });
    REQUIRE(error.has_value());
    CHECK(!fs::exists(directory / "out.ingot"));
    return std::string(error->what());
  };
  const fs::path shard = directory / "in" / "model-00001-of-00005.safetensors";
  SUBCASE("one file") {
    put(source_of("one", float_model(), "hf", "source", 0, 0).files, directory / "in");
    CHECK(message().find("one file") != std::string::npos);
  }
  SUBCASE("hard links") {
    REQUIRE(fs::exists(shard));
    fs::create_hard_link(shard, directory / "other");
    CHECK(message().find("hard links") != std::string::npos);
  }
  SUBCASE("links") {
    fs::rename(shard, directory / "other");
    fs::create_symlink(directory / "other", shard);
    CHECK(message().find("no regular file") != std::string::npos);
  }
  SUBCASE("other targets") {
    options.to = "gguf";
    CHECK(message().find("only --to ingot") != std::string::npos);
  }
  SUBCASE("without a proof") {
    options.prove = false;
    CHECK(message().find("nothing is removed that is not proven") != std::string::npos);
  }
}

TEST_CASE("the_forecast_knows_how_much_less_disk_is_needed") {
  const test::TemporaryDirectory directory;
  const Source source = sources().front();
  put(source.files, directory / "in");
  const tensor::Model model = convert::read_model(directory / "in");
  const convert::Forecast forecast = convert::forecast(model, removing(2'500'000, false));
  CHECK(convert::needed_disk(model, forecast, options_to("ingot", 2'500'000)) == forecast.output_bytes);
  CHECK(convert::needed_disk(model, forecast, removing(2'500'000, false)) < forecast.output_bytes * 6 / 10);
  CHECK(convert::needed_disk(model, forecast, removing(0, false)) == forecast.output_bytes);
}
