// Converting into a set of .ingot files: publication in an order that a crash cannot spoil, and what stands at the
// output path.
#include <doctest/doctest.h>

#include <algorithm>

#include "container_models.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "killed_process.h"
#include "temporary_directory.h"

using namespace ingot;
using test::throws_kind;

namespace {

namespace fs = std::filesystem;

convert::ConvertOptions sharded(std::uint64_t shard_bytes = 20000) {
  convert::ConvertOptions options;
  options.to = "ingot";
  options.write.sync = false;
  options.write.shard_bytes = shard_bytes;
  return options;
}

/// Every .ingot under a final name is whole, and so is the set when its manifest stands there; says whether it does.
bool whole_set_or_none(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;  // the staging directory
    INFO(entry.path().string());
    for (const container::Finding& finding : container::verify(entry.path(), true, {}).findings)
      FAIL_CHECK(finding.message);
  }
  return fs::exists(directory / "set.ingot");
}

void clear(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) fs::remove_all(entry);
}

/// Steps of a whole conversion: writes, renames, removals.
std::uint64_t count_steps(const tensor::Model& model, const fs::path& output, const convert::ConvertOptions& options) {
  std::uint64_t steps = 0;
  container::set_write_fault_hook([&](std::uint64_t) { return ++steps != 0; });
  (void)convert::convert(model, output, options);
  container::set_write_fault_hook(nullptr);
  return steps;
}

/// Kills a conversion of `model` at its last steps; `prepare` makes what stands there before. Returns how often a
/// manifest stood there.
std::uint64_t kill_publication(const fs::path& directory, const convert::ConvertOptions& options,
                               const std::function<void()>& prepare) {
  const test::WithThreads one_thread(1);
  const tensor::Model model = test::make_model_of_all_schemes();
  const fs::path output = directory / "set.ingot";
  prepare();
  const std::uint64_t steps = count_steps(model, output, options);
  const std::uint64_t renames = container::facts(output).members.size() + 1;
  REQUIRE(renames > 3);
  std::uint64_t standing = 0;
  for (std::uint64_t step = steps - 2 * renames - 3; step <= steps; ++step) {
    clear(directory);
    prepare();
    const bool died = test::dies_at(step, [&] { (void)convert::convert(model, output, options); });
    CHECK(died == (step < steps));
    standing += whole_set_or_none(directory);
  }
  return standing;
}

}  // namespace

TEST_CASE("convert_into_a_set_is_proven_through_its_manifest") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = test::make_model_of_all_schemes();
  const convert::ConversionReport report = convert::convert(model, directory / "set.ingot", sharded());
  CHECK(report.proven);
  CHECK(report.model_before == report.model_after);
  CHECK(report.proofs.size() == model.tensors.size());
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(directory.path())) bytes += entry.file_size();
  CHECK(report.written_bytes == bytes);
  const tensor::Model set = convert::read_model(directory / "set.ingot");
  (void)convert::convert(set, directory / "one.ingot", sharded(0));
  (void)convert::convert(model, directory / "direct.ingot", sharded(0));
  CHECK(test::read_bytes(directory / "one.ingot") == test::read_bytes(directory / "direct.ingot"));
}

TEST_CASE("convert_into_a_set_killed_while_it_is_published_leaves_no_manifest_or_a_whole_set") {
  const test::TemporaryDirectory directory;
  // The one that was not killed, and the one that was when all files had their names.
  CHECK(kill_publication(directory.path(), sharded(), [] {}) == 2);
}

TEST_CASE("convert_over_a_set_killed_while_it_is_published_leaves_the_old_set_no_manifest_or_the_new_one") {
  const test::TemporaryDirectory directory, old;
  tensor::Model model = test::make_model_of_all_schemes();
  model.metadata["general.name"] = "old";
  model.tensors[0].name = "another";
  (void)convert::convert(model, old / "set.ingot", sharded());
  convert::ConvertOptions options = sharded();
  options.overwrite = true;
  const auto put_old = [&] {
    for (const auto& entry : fs::directory_iterator(old.path()))
      fs::copy(entry, directory.path() / entry.path().filename(), fs::copy_options::overwrite_existing);
  };
  // Until the old manifest is moved aside the old set stands there, in the end the new one, in between none.
  CHECK(kill_publication(directory.path(), options, put_old) == 5);
}

TEST_CASE("convert_into_a_set_touches_nothing_when_one_of_its_names_is_taken") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = test::make_model_of_all_schemes();
  (void)convert::convert(model, directory / "set.ingot", sharded());
  fs::remove(directory / "set.ingot");
  fs::path kept;
  for (const auto& entry : fs::directory_iterator(directory.path())) kept = std::max(kept, entry.path());
  for (const auto& entry : fs::directory_iterator(directory.path()))
    if (entry.path() != kept) fs::remove(entry);
  const std::vector<std::byte> before = test::read_bytes(kept);
  CHECK(throws_kind(ErrorKind::io, [&] { (void)convert::convert(model, directory / "set.ingot", sharded()); }));
  CHECK(test::read_bytes(kept) == before);
  CHECK(convert::is_resumable(directory / "set.ingot"));  // --resume --force need not do the work again
  fs::remove_all(directory / ".set.ingot.partial");
  CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("convert_over_a_set_of_more_members_leaves_no_old_member") {
  const test::TemporaryDirectory directory, fresh;
  const tensor::Model model = test::make_model_of_all_schemes();
  for (const std::uint64_t shard_bytes : {20000, 40000, 0, 20000}) {
    convert::ConvertOptions options = sharded(shard_bytes);
    options.overwrite = true;
    (void)convert::convert(model, directory / "set.ingot", options);
    clear(fresh.path());
    (void)convert::convert(model, fresh / "set.ingot", options);
    for (const auto& entry : fs::directory_iterator(directory.path()))
      CHECK(fs::exists(fresh.path() / entry.path().filename()));
    CHECK(std::distance(fs::directory_iterator(directory.path()), fs::directory_iterator()) ==
          std::distance(fs::directory_iterator(fresh.path()), fs::directory_iterator()));
    CHECK(container::verify(directory / "set.ingot", true, {}).findings.empty());
  }
}

TEST_CASE("convert_over_a_set_that_cannot_be_published_brings_the_old_set_back") {
  const test::TemporaryDirectory directory;
  tensor::Model model = test::make_model_of_all_schemes();
  (void)convert::convert(model, directory / "set.ingot", sharded());
  const std::vector<std::byte> before = test::read_bytes(directory / "set.ingot");
  model.metadata["general.name"] = "new";
  convert::ConvertOptions options = sharded();
  options.overwrite = true;
  const std::uint64_t steps = count_steps(model, directory / "set.ingot", options);
  REQUIRE(test::read_bytes(directory / "set.ingot") != before);
  const std::vector<std::byte> second = test::read_bytes(directory / "set.ingot");
  model.metadata["general.name"] = "third";
  std::uint64_t now = 0;
  container::set_write_fault_hook([&](std::uint64_t) { return ++now < steps - 1; });  // refuses the last rename
  bool stopped = false;
  try {
    (void)convert::convert(model, directory / "set.ingot", options);
  } catch (...) {
    stopped = true;
  }
  container::set_write_fault_hook(nullptr);
  CHECK(stopped);
  CHECK(test::read_bytes(directory / "set.ingot") == second);
  CHECK(container::verify(directory / "set.ingot", true, {}).findings.empty());
}
