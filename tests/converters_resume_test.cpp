// Conversions that are killed, run out of disk or are cut into parts: what is continued ends with the bytes of an
// uninterrupted run.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>

#include "container_models.h"
#include "converters/registry.h"
#include "counted_memory.h"
#include "expect_error.h"
#include "format/tensor/fingerprint.h"
#include "gptq_source.h"
#include "layer_of_floats.h"
#include "skip.h"
#include "small_disk.h"
#include "temporary_directory.h"

using namespace ingot;
using test::throws_kind;

namespace {

namespace fs = std::filesystem;
using test::Files, test::files_in;

/// One way to write one model.
struct Case {
  std::string name;
  tensor::Model model;
  convert::ConvertOptions options;
  std::string output;
};

convert::ConvertOptions options_to(const std::string& layout, std::uint64_t shard_bytes = 0, bool compress = false) {
  convert::ConvertOptions options;
  options.to = layout;
  options.write.sync = false;
  options.write.shard_bytes = shard_bytes;
  options.write.compress = compress;
  return options;
}

/// Some of its tensors are larger than a piece of the writers.
tensor::Model float_model() { return test::layer_of_floats(96, 64, 64, 2); }

std::vector<Case> cases() {
  const fs::path gptq = fs::path(INGOT_TEST_DATA) / "golden/foreign/gptq/asym_v1";
  std::vector<Case> all;
  all.push_back({"ingot", test::make_model_of_all_schemes(), options_to("ingot"), "out.ingot"});
  all.push_back({"ingot zstd", test::make_model_of_all_schemes(), options_to("ingot", 0, true), "out.ingot"});
  all.push_back({"ingot set", test::make_model_of_all_schemes(), options_to("ingot", 20000), "out.ingot"});
  all.push_back({"gguf", float_model(), options_to("gguf"), "out.gguf"});
  all.push_back({"gguf split", float_model(), options_to("gguf", 40000), "out.gguf"});
  all.push_back({"hf sharded", float_model(), options_to("hf", 40000), "out"});
  all.push_back({"gptq", convert::read_model(gptq), options_to("gptq"), "out"});
  // What the writer reads is the source's side of the proof, but for the tensors that were kept.
  static const test::GptqSource source;
  for (const char* layout : {"awq", "mlx"})
    all.push_back({std::string("gptq to ") + layout, source.model(), options_to(layout), "out"});
  return all;
}

void clear(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) fs::remove_all(entry);
}

/// Calls `step` at every write of the container, every rename, and every progress call of the others.
void convert_in_steps(const Case& one, const fs::path& directory, const std::function<void()>& step, bool resume) {
  convert::ConvertOptions options = one.options;
  options.resume = resume;
  options.write.progress = [&](std::string_view, std::uint64_t, std::uint64_t) { step(); };
  container::set_write_fault_hook([&](std::uint64_t) {
    step();
    return true;
  });
  (void)convert::convert(one.model, directory / one.output, options);
  container::set_write_fault_hook(nullptr);
}

/// SIGKILL at step `last` in a process of its own; false when it ended before.
bool killed_at(std::uint64_t last, const Case& one, const fs::path& directory, bool resume) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::atomic<std::uint64_t> now{0};
    try {
      convert_in_steps(
          one, directory, [&] { now++ == last ? ::kill(::getpid(), SIGKILL) : 0; }, resume);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE((WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0)));
  return WIFSIGNALED(status);
}

convert::ConversionReport resumed(const Case& one, const fs::path& directory) {
  convert::ConvertOptions options = one.options;
  options.resume = true;
  return convert::convert(one.model, directory / one.output, options);
}

Hash128 fingerprint_of(const tensor::Model& model) {
  std::vector<Hash128> of_tensors;
  for (const tensor::Tensor& tensor : model.tensors) of_tensors.push_back(tensor::fingerprint(tensor));
  return tensor::model_fingerprint(model, of_tensors);
}

fs::path place(const fs::path& directory, const Case& one) { return directory / ("." + one.output + ".partial"); }

}  // namespace

TEST_CASE("a_conversion_killed_at_any_moment_and_resumed_gives_the_same_bytes") {
  const test::WithThreads one_thread(1);  // forked children have no workers
  constexpr int kMoments = 50;
  test::Random random(20261122);
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    const test::TemporaryDirectory whole, directory;
    std::uint64_t steps = 0;
    convert_in_steps(
        one, whole.path(), [&] { ++steps; }, false);
    const Files expected = files_in(whole.path());
    REQUIRE(steps > 5);
    const Hash128 fingerprint = fingerprint_of(one.model);
    int killed = 0, kept = 0;
    for (int moment = 0; moment < kMoments; ++moment) {
      clear(directory.path());
      bool again = false;
      for (int attempt = 0; attempt < 3; ++attempt) {  // the resumed ones are killed too
        if (!killed_at(random.below(steps), one, directory.path(), again)) break;
        again = true;
        ++killed;
        for (const auto& entry : fs::directory_iterator(directory.path())) {
          const std::string name = entry.path().filename().string();
          if (expected.contains(name)) CHECK(test::read_bytes(entry.path()) == expected.at(name));
        }
      }
      if (fs::exists(directory.path() / one.output) && files_in(directory.path()) == expected) continue;  // not killed
      const convert::ConversionReport report = resumed(one, directory.path());
      CHECK(report.proven);
      CHECK(report.model_before == fingerprint);
      kept += report.kept_bytes > 0;
      CHECK(files_in(directory.path()) == expected);
    }
    CHECK(killed > kMoments / 2);
    CHECK(kept > 4);  // the container records what it flushes, here at its end
    MESSAGE(one.name << ": " << steps << " steps, killed " << killed << " times, kept work " << kept << " times");
  }
}

TEST_CASE("a_conversion_killed_after_its_last_rename_is_resumed_to_the_same_bytes") {
  const test::WithThreads one_thread(1);
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    const test::TemporaryDirectory whole, directory;
    std::uint64_t steps = 0;
    convert_in_steps(
        one, whole.path(), [&] { ++steps; }, false);
    const Files expected = files_in(whole.path());
    REQUIRE(killed_at(steps - 1, one, directory.path(), false));
    for (const auto& [name, bytes] : expected) REQUIRE(test::read_bytes(directory.path() / name) == bytes);
    REQUIRE(fs::exists(place(directory.path(), one)));
    const convert::ConversionReport report = resumed(one, directory.path());
    CHECK(report.proven);
    CHECK(report.kept_bytes > 0);
    CHECK(files_in(directory.path()) == expected);
  }
}

TEST_CASE("resume_keeps_only_bytes_that_their_hashes_confirm") {
  const test::WithThreads one_thread(1);
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    const test::TemporaryDirectory whole, directory;
    std::uint64_t steps = 0;
    convert_in_steps(
        one, whole.path(), [&] { ++steps; }, false);
    REQUIRE(killed_at(steps * 6 / 10, one, directory.path(), false));
    for (const auto& entry : fs::recursive_directory_iterator(place(directory.path(), one) / "files")) {
      if (!entry.is_regular_file()) continue;
      std::vector<std::byte> bytes = test::read_bytes(entry.path());
      for (std::byte& byte : bytes) byte ^= std::byte{0x10};
      test::write_bytes(entry.path(), bytes);
    }
    CHECK(resumed(one, directory.path()).kept_bytes == 0);
    CHECK(files_in(directory.path()) == files_in(whole.path()));
  }
}

TEST_CASE("a_torn_journal_is_read_up_to_its_last_whole_line") {
  const test::WithThreads one_thread(1);
  const Case one = cases().front();
  const test::TemporaryDirectory whole, directory;
  std::uint64_t steps = 0;
  convert_in_steps(
      one, whole.path(), [&] { ++steps; }, false);
  const Files expected = files_in(whole.path());
  REQUIRE(killed_at(steps * 8 / 10, one, directory.path(), false));
  const std::vector<std::byte> journal = test::read_bytes(place(directory.path(), one) / "journal");
  const test::TemporaryDirectory copy;
  fs::copy(directory.path(), copy.path() / "saved", fs::copy_options::recursive);
  test::Random random(7);
  for (int i = 0; i < 20; ++i) {
    clear(directory.path());
    fs::copy(copy.path() / "saved", directory.path(), fs::copy_options::recursive);
    std::vector<std::byte> torn = journal;
    torn.resize(random.below(journal.size()));
    if (i % 2 == 1) torn = journal, torn[random.below(journal.size())] ^= std::byte{0x04};
    test::write_bytes(place(directory.path(), one) / "journal", torn);
    (void)resumed(one, directory.path());
    CHECK(files_in(directory.path()) == expected);
  }
}

TEST_CASE("resume_without_anything_to_resume_converts_and_without_resume_the_work_starts_anew") {
  const test::WithThreads one_thread(1);
  const Case one = cases()[3];
  const test::TemporaryDirectory whole, directory;
  std::uint64_t steps = 0;
  convert_in_steps(
      one, whole.path(), [&] { ++steps; }, false);
  CHECK(resumed(one, directory.path()).kept_bytes == 0);
  CHECK(files_in(directory.path()) == files_in(whole.path()));
  clear(directory.path());
  REQUIRE(killed_at(steps / 2, one, directory.path(), false));
  CHECK(convert::is_resumable(directory.path() / one.output));
  CHECK(convert::convert(one.model, directory.path() / one.output, one.options).kept_bytes == 0);
  CHECK(files_in(directory.path()) == files_in(whole.path()));
}

TEST_CASE("resume_refuses_another_conversion_and_says_what_differs") {
  const test::WithThreads one_thread(1);
  const test::TemporaryDirectory source, directory;
  (void)convert::convert(float_model(), source / "model.ingot", options_to("ingot"));
  Case one{"", convert::read_model(source / "model.ingot"), options_to("gguf"), "out.gguf"};
  REQUIRE(killed_at(8, one, directory.path(), false));
  const auto message = [&] {
    const std::optional<Error> error = test::error_of([&] { (void)resumed(one, directory.path()); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::mismatch);
    return std::string(error->what());
  };
  SUBCASE("options") {
    one.options.write.shard_bytes = 5000;
    CHECK(message().find("--shard-size was 0, is 5000") != std::string::npos);
  }
  SUBCASE("a source of the same size") {
    fs::last_write_time(source / "model.ingot", fs::file_time_type::clock::now() + std::chrono::hours(1));
    CHECK(message().find("model.ingot: time of change") != std::string::npos);
  }
  CHECK(convert::is_resumable(directory / "out.gguf"));  // refusing does not throw the work away
}

TEST_CASE("a_second_process_does_not_write_the_same_output") {
  const test::WithThreads one_thread(1);
  const Case one = cases().front();
  const test::TemporaryDirectory directory;
  bool refused = false;
  convert::ConvertOptions options = one.options;
  options.write.progress = [&](std::string_view, std::uint64_t, std::uint64_t) {
    refused |= throws_kind(ErrorKind::io, [&] { (void)resumed(one, directory.path()); });
  };
  (void)convert::convert(one.model, directory.path() / one.output, options);
  CHECK(refused);
  CHECK(fs::exists(directory.path() / one.output));
}

TEST_CASE("a_full_disk_is_a_clear_error_and_what_was_finished_is_continued") {
  const test::WithThreads one_thread(1);
  for (const Case& one : cases()) {
    CAPTURE(one.name);
    const test::TemporaryDirectory whole, directory;
    (void)convert::convert(one.model, whole.path() / one.output, one.options);
    const Files expected = files_in(whole.path());
    std::uint64_t largest = 0;
    for (const auto& [name, bytes] : expected) largest = std::max<std::uint64_t>(largest, bytes.size());
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {  // a limit on file sizes is the full disk of a process without privileges
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{largest - 1, largest - 1};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const std::optional<Error> error =
          test::error_of([&] { (void)convert::convert(one.model, directory.path() / one.output, one.options); });
      ::_exit(error && error->kind == ErrorKind::io ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    for (const auto& [name, bytes] : expected) CHECK(!fs::exists(directory.path() / name));
    (void)resumed(one, directory.path());
    CHECK(files_in(directory.path()) == expected);
  }
}

namespace {

/// As many zeros as one likes, nowhere stored.
class Zeros final : public tensor::PlaneSource {
 public:
  explicit Zeros(std::uint64_t unit_bytes) : unit_bytes_(unit_bytes) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    std::memset(out[0], 0, (end - begin) * unit_bytes_);
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }

 private:
  std::uint64_t unit_bytes_;
};

}  // namespace

TEST_CASE("too_little_room_is_refused_before_anything_is_written") {
  const test::TemporaryDirectory directory;
  tensor::Model model = float_model();
  tensor::Tensor& huge = model.tensors.front();
  huge.shape = {std::uint64_t{1} << 30, std::uint64_t{1} << 16};  // 256 TiB
  huge.planes = std::make_shared<Zeros>(std::uint64_t{4} << 16);
  convert::ConvertOptions options = options_to("ingot");
  const std::optional<Error> error =
      test::error_of([&] { (void)convert::convert(model, directory / "out.ingot", options); });
  REQUIRE(error.has_value());
  CHECK(error->kind == ErrorKind::io);
  CHECK(std::string(error->what()).find("needed") != std::string::npos);
  CHECK(std::string(error->what()).find("available") != std::string::npos);
  CHECK(fs::is_empty(directory.path()));
}

namespace {

/// Planes of any size that need no memory: every byte is the same.
class EvenPlanes final : public tensor::PlaneSource {
 public:
  explicit EvenPlanes(std::vector<tensor::PlaneSpec> specs) : specs_(std::move(specs)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    for (std::size_t i = 0; i < out.size(); ++i)
      if (out[i] != nullptr) std::memset(out[i], 0x34, (end - begin) * specs_[i].unit_bytes);
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }

 private:
  std::vector<tensor::PlaneSpec> specs_;
};

}  // namespace

/// The planes of a large matrix lie beside the output where the rest of the disk has room for them: what the output has
/// reserved must not be left free once more.
TEST_CASE("large_planes_find_their_room_beside_an_output_that_has_its_own") {
  constexpr std::uint64_t kRows = 8192, kCols = 51200, kCodesBytes = kRows * kCols / 2;
  const test::TemporaryDirectory directory;
  const test::SmallDisk disk(directory / "disk",
                             kCodesBytes * 5 / 2);  // of which the output takes one, as do the planes
  if (!disk.mounted()) return test::skip("mounting a file system is not allowed");
  tensor::Model model = float_model();
  const auto is_down = [](const tensor::Tensor& tensor) { return tensor.name.ends_with("down_proj.weight"); };
  tensor::Tensor& matrix = *std::find_if(model.tensors.begin(), model.tensors.end(), is_down);
  matrix.shape = {kRows, kCols};
  matrix.scheme = {};
  matrix.scheme.codes.type = tensor::DType::u4;
  matrix.scheme.scales = {{.type = tensor::DType::f16, .block = {1, 128}}};
  matrix.scheme.offset = {tensor::OffsetKind::zero, 8, {}};
  matrix.planes = std::make_shared<EvenPlanes>(matrix.plane_specs());
  convert::ConvertOptions options = options_to("gptq");
  options.prove = false;
  const std::int64_t before = test::memory_in_use();
  test::reset_memory_peak();
  (void)convert::convert(model, directory / "disk/out", options);
  CHECK(test::memory_peak() - before < static_cast<std::int64_t>(kCodesBytes / 2));
}

TEST_CASE("parts_joined_are_the_bytes_of_one_conversion") {
  const test::WithThreads one_thread(1);
  const test::TemporaryDirectory source;
  (void)convert::convert(float_model(), source / "model.ingot", options_to("ingot"));
  const tensor::Model model = convert::read_model(source / "model.ingot");
  for (const char* layout : {"ingot", "gguf", "hf"}) {
    for (const std::uint64_t shard_bytes : {std::uint64_t{0}, std::uint64_t{40000}, std::uint64_t{1} << 30}) {
      CAPTURE(layout);
      CAPTURE(shard_bytes);
      const test::TemporaryDirectory whole, directory;
      const std::string output = std::string("out") + (std::string(layout) == "hf" ? "" : "." + std::string(layout));
      convert::ConvertOptions options = options_to(layout, shard_bytes);
      for (const std::uint64_t number : {3, 1, 2, 1}) {  // one of them twice
        options.write.part = convert::Part{number, 3};
        CHECK(!convert::convert(model, directory.path() / output, options).proven);
        CHECK(!fs::exists(directory.path() / output));
      }
      convert::ConvertOptions join_options;
      join_options.write.sync = false;
      const convert::ConversionReport report = convert::join(directory.path() / output, join_options);
      CHECK(report.proven);
      CHECK(report.kept_bytes > 0);
      convert::ConvertOptions whole_options = options_to(layout, shard_bytes);
      if (shard_bytes == 0) whole_options.write.shard_bytes = (report.forecast.output_bytes + 2) / 3;
      (void)convert::convert(model, whole.path() / output, whole_options);
      CHECK(files_in(directory.path()) == files_in(whole.path()));
    }
  }
}

TEST_CASE("join_refuses_missing_unfinished_and_foreign_parts") {
  const test::WithThreads one_thread(1);
  const test::TemporaryDirectory source, directory;
  (void)convert::convert(float_model(), source / "model.ingot", options_to("ingot"));
  const tensor::Model model = convert::read_model(source / "model.ingot");
  const auto write_part = [&](std::uint64_t number, std::uint64_t shard_bytes) {
    convert::ConvertOptions options = options_to("ingot", shard_bytes);
    options.write.part = convert::Part{number, 3};
    (void)convert::convert(model, directory / "out.ingot", options);
  };
  const auto error_of_join = [&] {
    const std::optional<Error> error = test::error_of([&] { (void)convert::join(directory / "out.ingot", {}); });
    REQUIRE(error.has_value());
    return *error;
  };
  CHECK(error_of_join().kind == ErrorKind::io);  // no part
  CHECK(fs::is_empty(directory.path()));
  write_part(1, 40000);
  write_part(3, 40000);
  CHECK(std::string(error_of_join().what()).find("missing: 2/3") != std::string::npos);
  // A part of another conversion is refused before it writes: its files would stay among those of the others.
  const std::optional<Error> foreign = test::error_of([&] { write_part(2, 30000); });
  REQUIRE(foreign.has_value());
  CHECK(foreign->kind == ErrorKind::mismatch);
  CHECK(std::string(foreign->what()).find("--shard-size") != std::string::npos);
  write_part(2, 40000);
  const fs::path journal = directory.path() / ".out.ingot.partial" / "journal-2-of-3";
  const std::vector<std::byte> own = test::read_bytes(journal);
  const test::TemporaryDirectory elsewhere;
  {
    convert::ConvertOptions options = options_to("ingot", 30000);
    options.write.part = convert::Part{2, 3};
    (void)convert::convert(model, elsewhere / "out.ingot", options);
  }
  test::write_bytes(journal, test::read_bytes(elsewhere.path() / ".out.ingot.partial" / "journal-2-of-3"));
  CHECK(error_of_join().kind == ErrorKind::mismatch);
  CHECK(std::string(error_of_join().what()).find("--shard-size") != std::string::npos);
  CHECK(!fs::exists(directory / "out.ingot"));
  test::write_bytes(journal, own);
  const std::vector<std::byte> whole = test::read_bytes(journal);
  test::write_bytes(journal, Bytes(whole).first(whole.size() - 5));
  CHECK(std::string(error_of_join().what()).find("2/3 (not finished)") != std::string::npos);
  test::write_bytes(journal, whole);
  CHECK(convert::join(directory / "out.ingot", {}).proven);
  CHECK(container::verify(directory / "out.ingot", true, {}).findings.empty());
}
