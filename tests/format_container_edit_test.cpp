// Metadata in place: a kill at any write, in the middle of a write too, leaves the old or the new metadata; compact
// gives the bytes that a direct write would have given.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "container_forgery.h"
#include "container_models.h"
#include "expect_error.h"
#include "format/container/file.h"
#include "temporary_directory.h"

namespace ingot::test {
namespace {

/// Stops every write from the n-th on while it lives.
class KillAt {
 public:
  explicit KillAt(std::uint64_t ordinal) {
    container::set_write_fault_hook([ordinal](std::uint64_t now) { return now < ordinal; });
  }
  ~KillAt() { container::set_write_fault_hook(nullptr); }
};

/// Runs `call` with a kill at write `ordinal`; says whether it was killed.
template <class Call>
bool killed(std::uint64_t ordinal, const Call& call) {
  const KillAt hook(ordinal);
  try {
    call();
    return false;
  } catch (...) {
    return true;
  }
}

std::string name_in(const std::filesystem::path& path) { return container::open(path).metadata.at("general.name"); }

/// Every finding must be about a slot.
bool only_slots_are_torn(const std::filesystem::path& path) {
  for (const container::Finding& finding : container::verify(path, true, {}).findings)
    if (finding.offset != 512 && finding.offset != 1024) return false;
  return true;
}

/// Kills an edit of `base` to "new" at every write in turn; each time the file must be whole and editable. Returns the
/// number of kills.
std::uint64_t kill_at_every_write(const std::vector<std::byte>& base, const std::filesystem::path& path,
                                  const std::string& old_name) {
  for (std::uint64_t ordinal = 0;; ++ordinal) {
    write_bytes(path, base);
    const bool was_killed = killed(ordinal, [&] { container::edit_metadata(path, {{"general.name", "new"}}); });
    const std::string now = name_in(path);
    CHECK((now == old_name || now == "new"));
    CHECK(only_slots_are_torn(path));
    if (!was_killed) {
      CHECK(now == "new");
      return ordinal;
    }
    container::edit_metadata(path, {{"general.name", "after"}});
    CHECK(name_in(path) == "after");
    CHECK(container::verify(path, true, {}).findings.empty());
  }
}

}  // namespace

TEST_CASE("metadata is set, replaced and removed; tensors and attachments stay where they are") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_model_of_all_schemes(), path, fast());
  const container::FileFacts before = container::facts(path);
  const std::vector<std::byte> bytes_before = read_bytes(path);
  container::edit_metadata(path, {{"general.name", "second"}, {"added", "x\ny"}, {"z", std::nullopt}});
  const tensor::Model model = container::open(path);
  CHECK(model.metadata == std::map<std::string, std::string>{{"general.name", "second"}, {"added", "x\ny"}});
  CHECK(model.tokenizer == make_model_of_all_schemes().tokenizer);
  const container::FileFacts after = container::facts(path);
  CHECK(after.generation == before.generation + 1);
  CHECK(after.data_root == before.data_root);
  CHECK(after.root != before.root);
  CHECK(after.dead_bytes >= before.index_bytes);
  CHECK(container::verify(path, true, {}).findings.empty());
  const std::vector<std::byte> bytes_after = read_bytes(path);
  CHECK(std::equal(bytes_before.begin() + 4096, bytes_before.end(), bytes_after.begin() + 4096));
  container::edit_metadata(path, {{"general.name", "third"}});
  CHECK(container::facts(path).generation == 3);
  CHECK(name_in(path) == "third");
}

TEST_CASE("an edit that changes nothing writes nothing; a wrong one is refused") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  const std::vector<std::byte> before = read_bytes(path);
  container::edit_metadata(path, {});
  container::edit_metadata(path, {{"general.name", "small"}});
  CHECK(throws_kind(ErrorKind::mismatch, [&] { container::edit_metadata(path, {{"absent", std::nullopt}}); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { container::edit_metadata(path, {{"", "x"}}); }));
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { container::edit_metadata(path, {{"x", "\xFF"}}); }));
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] {
    container::edit_metadata(path, {{std::string(1025, 'k'), "x"}});
  }));
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] {
    container::edit_metadata(path, {{"x", std::string((16 << 20) + 1, 'v')}});
  }));
  CHECK(read_bytes(path) == before);
}

TEST_CASE("two processes do not edit one file at a time") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  REQUIRE(::flock(descriptor, LOCK_EX) == 0);
  CHECK(throws_kind(ErrorKind::io, [&] { container::edit_metadata(path, {{"a", "b"}}); }));
  ::close(descriptor);
  container::edit_metadata(path, {{"a", "b"}});
}

TEST_CASE("an edit killed at any write leaves a whole file with the old or the new metadata") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  CHECK(kill_at_every_write(read_bytes(path), path, "small") > 40);
  container::edit_metadata(path, {{"general.name", "second"}});  // now slot A is the one that is overwritten
  CHECK(kill_at_every_write(read_bytes(path), path, "second") > 40);
}

TEST_CASE("an edit after an edit that was killed in the slot") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  const std::vector<std::byte> base = read_bytes(path);
  std::uint64_t writes = 0;
  while (killed(writes, [&] { container::edit_metadata(path, {{"general.name", "other"}}); })) {
    ++writes;
    write_bytes(path, base);
  }
  write_bytes(path, base);
  REQUIRE(killed(writes - 3, [&] { container::edit_metadata(path, {{"general.name", "other"}}); }));
  CHECK(container::verify(path, false, {}).findings.size() == 1);  // the torn slot
  CHECK(kill_at_every_write(read_bytes(path), path, "small") > 40);
}

TEST_CASE("a slot of which any subset of sectors or bytes arrived leaves the old or the new metadata") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  const std::vector<std::byte> before = read_bytes(path);
  container::edit_metadata(path, {{"general.name", "new"}});
  const std::vector<std::byte> after = read_bytes(path);
  Random random(4);
  std::uint64_t torn = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::byte> mixed = after;
    const std::uint64_t grain = std::uint64_t{1} << random.below(7);
    for (std::uint64_t at = 1024; at < 1152; at += grain) {
      if (random.below(2) == 0) continue;
      std::copy(before.begin() + static_cast<std::ptrdiff_t>(at),
                before.begin() + static_cast<std::ptrdiff_t>(at + grain),
                mixed.begin() + static_cast<std::ptrdiff_t>(at));
    }
    write_bytes(path, mixed);
    const std::string now = name_in(path);
    CHECK((now == "small" || now == "new"));
    torn += !container::verify(path, false, {}).findings.empty();
  }
  CHECK(torn > 1000);
}

TEST_CASE("a new file killed at any write never bears the final name") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  std::uint64_t ordinal = 0;
  for (; killed(ordinal, [&] { (void)container::write(make_small_model(), path, fast()); }); ++ordinal) {
    CHECK(!std::filesystem::exists(path));
  }
  CHECK(ordinal > 200);
  const std::vector<std::byte> before = read_bytes(path);
  for (std::uint64_t again = 0; again < ordinal; again += 7) {
    CHECK(killed(again, [&] { (void)container::compact(path, fast()); }));
    CHECK(read_bytes(path) == before);
  }
}

TEST_CASE("compact after edits gives the bytes of a direct write") {
  const TemporaryDirectory directory;
  const std::filesystem::path edited = directory / "edited.ingot", direct = directory / "direct.ingot";
  for (const container::Compression compression : {container::Compression::none, container::Compression::zstd}) {
    for (const tensor::Model& original : {make_model_of_all_schemes(), make_large_model(SourceKind::views)}) {
      tensor::Model model = original;
      (void)container::write(model, edited, fast(compression));
      container::edit_metadata(edited, {{"a", "1"}});
      container::edit_metadata(edited, {{"b", "2"}, {"a", std::nullopt}});
      const container::WriteResult result = container::compact(edited, fast(compression));
      model.metadata["b"] = "2";
      (void)container::write(model, direct, fast(compression));
      CHECK(read_bytes(edited) == read_bytes(direct));
      CHECK(result.root == container::facts(direct).root);
      CHECK(container::facts(edited).dead_bytes == 0);
      CHECK(container::facts(edited).generation == 1);
    }
  }
}

TEST_CASE("compact changes the compression and keeps members of later versions") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot", raw = directory / "raw.ingot";
  (void)container::write(make_large_model(SourceKind::views), raw, fast());
  (void)container::write(make_large_model(SourceKind::views), path, fast(container::Compression::zstd));
  CHECK(std::filesystem::file_size(path) < std::filesystem::file_size(raw));
  (void)container::compact(path, fast());
  CHECK(read_bytes(path) == read_bytes(raw));
  write_bytes(path, with_index(read_bytes(raw), [](Json& j) { j.set("from_the_future", JsonArray{Json(1)}); }));
  container::edit_metadata(path, {{"a", "1"}});
  (void)container::compact(path, fast());
  CHECK(parse_json(index_text_of(read_bytes(path)), "").at("from_the_future", "") == Json(JsonArray{Json(1)}));
}

TEST_CASE("compact does not put fresh hashes on damaged data, and repairs a torn slot") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_small_model(), path, fast());
  const std::vector<std::byte> good = read_bytes(path);
  const auto file = container::open_file(path);
  std::vector<std::byte> damaged = good;
  damaged[file->index.planes[0][0].offset] ^= std::byte{1};
  write_bytes(path, damaged);
  CHECK(throws_kind(ErrorKind::bad_checksum, [&] { (void)container::compact(path, fast()); }));
  CHECK(read_bytes(path) == damaged);
  damaged = good;
  damaged[1030] = std::byte{9};
  write_bytes(path, damaged);
  CHECK(container::verify(path, true, {}).findings.size() == 1);
  (void)container::compact(path, fast());
  CHECK(read_bytes(path) == good);
}

}  // namespace ingot::test
