// Sets of files: a model cut into members is the same model; members that are missing, exchanged, edited or lie are
// named; a writer that is killed at any step leaves no manifest without its members.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "container_forgery.h"
#include "container_models.h"
#include "counted_memory.h"
#include "expect_error.h"
#include "format/container/file.h"
#include "format/tensor/fingerprint.h"
#include "killed_process.h"
#include "temporary_directory.h"

namespace ingot::test {
namespace {

namespace fs = std::filesystem;
using container::Compression;

container::WriteOptions sharded(std::uint64_t shard_bytes, Compression compression = Compression::none) {
  container::WriteOptions options = fast(compression);
  options.shard_bytes = shard_bytes;
  return options;
}

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

/// Three tensors of 4000 bytes each: with 10,000 bytes per file, a member for each.
tensor::Model make_three(std::uint64_t seed = 1) {
  tensor::Model model = make_small_model();
  model.tensors.clear();
  for (const char* name : {"c", "a", "b"})
    model.tensors.push_back(
        make_tensor(name, {1000}, tensor::Scheme::plain(tensor::DType::f32), tensor::Packing::rows, seed++));
  model.aliases = {{"tied", "b"}};
  return model;
}

/// set.ingot and set-00001-of-00003.ingot .. set-00003-of-00003.ingot.
fs::path write_three(const TemporaryDirectory& directory, std::uint64_t seed = 1) {
  (void)container::write(make_three(seed), directory / "set.ingot", sharded(10000));
  REQUIRE(container::facts(directory / "set.ingot").members.size() == 3);
  return directory / "set.ingot";
}

void check_same(const tensor::Model& expected, const tensor::Model& got) {
  CHECK(got.config == expected.config);
  CHECK(got.tokenizer == expected.tokenizer);
  CHECK(got.metadata == expected.metadata);
  CHECK(got.aliases == expected.aliases);
  CHECK(got.layout == expected.layout);
  REQUIRE(got.source.has_value() == expected.source.has_value());
  if (got.source) CHECK(container::source_to_json(*got.source) == container::source_to_json(*expected.source));
  REQUIRE(got.attachments.size() == expected.attachments.size());
  for (std::size_t i = 0; i < got.attachments.size(); ++i) {
    CHECK(got.attachments[i].name == expected.attachments[i].name);
    CHECK(as_text(got.attachments[i].bytes) == as_text(expected.attachments[i].bytes));
  }
  REQUIRE(got.tensors.size() == expected.tensors.size());
  for (std::size_t i = 0; i < got.tensors.size(); ++i) {
    INFO(expected.tensors[i].name);
    CHECK(got.tensors[i].name == expected.tensors[i].name);
    CHECK(got.tensors[i].fingerprint == tensor::fingerprint(expected.tensors[i]));
    for (std::size_t plane = 0; plane < expected.tensors[i].plane_specs().size(); ++plane)
      CHECK(plane_bytes(got.tensors[i], plane) == plane_bytes(expected.tensors[i], plane));
  }
}

void check_intact(const fs::path& path) {
  for (const container::Finding& finding : container::verify(path, true, {}).findings) FAIL_CHECK(finding.message);
}

/// Opening and verifying say the same kind, and both name every one of `names`.
void check_rejected(const fs::path& path, ErrorKind kind, const std::vector<std::string>& names) {
  const std::optional<Error> error = error_of([&] { (void)container::open(path); });
  REQUIRE(error.has_value());
  CHECK(error->kind == kind);
  const container::VerifyResult result = container::verify(path, true, {});
  REQUIRE(!result.findings.empty());
  CHECK(result.findings[0].kind == kind);
  for (const std::string& name : names) {
    INFO(std::string(error->what()));
    CHECK(std::string_view(error->what()).find(name) != std::string_view::npos);
    CHECK(result.findings[0].message.find(name) != std::string::npos);
  }
}

/// The manifest with a changed list of members.
void forge_members(const fs::path& path, const std::function<void(JsonArray&)>& change) {
  write_bytes(path,
              with_index(read_bytes(path), [&](Json& j) { change(member(member(j, "set"), "members").array()); }));
}

void clear(const TemporaryDirectory& directory) {
  for (const auto& entry : fs::directory_iterator(directory.path())) fs::remove_all(entry);
}

/// Steps at which to kill `call`: those around every change under a final name in `directory`, some of the others, and
/// one behind the last.
template <class Call>
std::vector<std::uint64_t> steps_to_try(const TemporaryDirectory& directory, const Call& call) {
  constexpr std::uint64_t kStride = 53;
  const auto state = [&] {  // a file that was replaced is another inode, and so another time
    std::map<std::string, fs::file_time_type> files;
    for (const auto& entry : fs::directory_iterator(directory.path()))
      if (entry.path().extension() == ".ingot") files[entry.path().filename().string()] = entry.last_write_time();
    return files;
  };
  std::set<std::uint64_t> steps = {0, 1, 2};
  std::uint64_t count = 0;
  auto before = state();
  container::set_write_fault_hook([&](std::uint64_t now) {
    count = now + 1;
    if (now % kStride == 0) steps.insert(now);
    auto after = state();
    if (after != before) steps.insert({now - 2, now - 1, now, now + 1});  // step now - 1 did it
    before = std::move(after);
    return true;
  });
  call();
  container::set_write_fault_hook(nullptr);
  CHECK(steps.size() > 20);
  while (*steps.rbegin() >= count) steps.erase(std::prev(steps.end()));
  steps.insert({count - 2, count - 1, count});
  return {steps.begin(), steps.end()};
}

/// Everything under a final name is whole, and a manifest that stands there has all its members. Says whether one does.
bool whole_set_or_none(const TemporaryDirectory& directory) {
  for (const std::string& name : names_in(directory.path())) {
    if (!name.ends_with(".ingot")) continue;  // temporary files
    INFO(name);
    check_intact(directory / name.c_str());
  }
  return fs::exists(directory / "set.ingot");
}

class FailingPlanes final : public tensor::PlaneSource {
 public:
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t, std::uint64_t, std::vector<std::byte*>&) const override {
    throw Error(ErrorKind::bad_checksum, "the source is damaged");
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }
};

class ZeroPlanes final : public tensor::PlaneSource {
 public:
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    std::fill_n(out[0], (end - begin) * 4096, std::byte{1});
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }
};

}  // namespace

TEST_CASE(
    "a set is the model that was cut: order, values, attachments, recipe, raw and compressed, from views and streams") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "set.ingot";
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    for (const SourceKind kind : {SourceKind::views, SourceKind::streamed}) {
      for (const std::uint64_t shard_bytes : {1, 8000, 20000}) {
        const tensor::Model model = make_model_of_all_schemes(kind);
        const container::WriteResult result = container::write(model, path, sharded(shard_bytes, compression));
        const container::FileFacts facts = container::facts(path);
        CHECK(facts.members.size() > 2);
        CHECK(result.root == facts.root);
        CHECK(result.fingerprints.size() == model.tensors.size());
        check_same(model, container::open(path));
        check_intact(path);
        std::uint64_t bytes = fs::file_size(path);
        for (const container::SetMember& member : facts.members)
          bytes += fs::file_size(directory / member.path.c_str());
        CHECK(result.file_bytes == bytes);
        const container::VerifyResult verified = container::verify(path, false, {});
        CHECK(verified.checked_bytes == bytes);
        CHECK(verified.members == facts.members.size());
        for (const auto& entry : fs::directory_iterator(directory.path())) fs::remove(entry);
      }
    }
  }
}

TEST_CASE("members have the specified names, are whole files, and hold the tensors in order up to the size") {
  const TemporaryDirectory directory;
  const tensor::Model model = make_large_model(SourceKind::views);
  (void)container::write(model, directory / "x.y.ingot", sharded(4 << 20));
  CHECK(names_in(directory.path()) == std::set<std::string>{"x.y.ingot", "x.y-00001-of-00004.ingot",
                                                            "x.y-00002-of-00004.ingot", "x.y-00003-of-00004.ingot",
                                                            "x.y-00004-of-00004.ingot"});
  CHECK(container::open_file(directory / "x.y.ingot")->index.model.tensors.empty());
  CHECK(container::facts(directory / "x.y.ingot").required_features == 2);
  std::size_t next = 0;
  for (const container::SetMember& member : container::facts(directory / "x.y.ingot").members) {
    const fs::path path = directory / member.path.c_str();
    check_intact(path);
    const tensor::Model part = container::open(path);
    CHECK((fs::file_size(path) <= (4 << 20) || part.tensors.size() == 1));
    CHECK(part.tensors.size() == member.tensors);
    CHECK(container::facts(path).root == member.root);
    CHECK(container::facts(path).required_features == 0);
    CHECK(part.layout == model.layout);
    CHECK(part.attachments.empty());
    CHECK(part.metadata.empty());
    for (const tensor::Tensor& tensor : part.tensors) CHECK(tensor.name == model.tensors[next++].name);
  }
  CHECK(next == model.tensors.size());
  (void)container::write(model, directory / "no extension", sharded(4 << 20));
  CHECK(fs::exists(directory / "no extension-00004-of-00004.ingot"));
}

TEST_CASE("no file is larger than asked unless one tensor is, whatever the size") {
  const TemporaryDirectory directory;
  tensor::Model model = make_model_of_all_schemes();
  const fs::path path = directory / "set.ingot";
  (void)container::write(model, path, fast());
  const std::uint64_t single = fs::file_size(path);
  Random random(6);
  for (int i = 0; i < 40; ++i) {
    const std::uint64_t limit = 4096 + random.below(single);
    (void)container::write(model, path, sharded(limit, i % 2 == 0 ? Compression::none : Compression::zstd));
    const container::FileFacts facts = container::facts(path);
    if (facts.members.empty()) CHECK(fs::file_size(path) <= limit);
    for (const container::SetMember& member : facts.members)
      CHECK((fs::file_size(directory / member.path.c_str()) <= limit || member.tensors == 1));
  }
}

TEST_CASE("a model that fits is one file, the very bytes of an ordinary write") {
  const TemporaryDirectory directory;
  (void)container::write(make_model_of_all_schemes(), directory / "one.ingot", fast());
  (void)container::write(make_model_of_all_schemes(), directory / "set.ingot", sharded(1 << 20));
  CHECK(read_bytes(directory / "one.ingot") == read_bytes(directory / "set.ingot"));
  CHECK(names_in(directory.path()).size() == 2);
}

TEST_CASE("the bytes of a set do not depend on threads or on the kind of source") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "set.ingot";
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    std::set<Hash128> roots;
    for (const SourceKind kind : {SourceKind::views, SourceKind::streamed}) {
      for (const int threads : {1, 5}) {
        const WithThreads with(threads);
        (void)container::write(make_large_model(kind), path, sharded(4 << 20, compression));
        roots.insert(hash128(read_bytes(path)));
      }
    }
    CHECK(roots.size() == 1);
  }
}

TEST_CASE("metadata of a set are edited in the manifest alone, and its compact needs no members") {
  const TemporaryDirectory directory;
  const fs::path path = write_three(directory);
  const std::vector<std::byte> before = read_bytes(path), member = read_bytes(directory / "set-00002-of-00003.ingot");
  container::edit_metadata(path, {{"general.name", "edited"}});
  CHECK(container::open(path).metadata.at("general.name") == "edited");
  CHECK(container::open(path).tensors.size() == 3);
  CHECK(read_bytes(directory / "set-00002-of-00003.ingot") == member);
  check_intact(path);
  CHECK(container::facts(path).dead_bytes > 0);
  fs::create_directory(directory / "elsewhere");
  CHECK(throws_kind(ErrorKind::invalid_value,
                    [&] { (void)container::compact(path, directory / "elsewhere/set.ingot", fast()); }));
  fs::rename(directory / "set-00002-of-00003.ingot", directory / "aside");
  container::edit_metadata(path, {{"general.name", "small"}});
  (void)container::compact(path, directory / "copy.ingot", fast());
  (void)container::compact(path, fast());
  CHECK(read_bytes(path) == before);
  CHECK(read_bytes(directory / "copy.ingot") == before);
  fs::rename(directory / "aside", directory / "set-00002-of-00003.ingot");
  check_same(make_three(), container::open(directory / "copy.ingot"));
}

TEST_CASE("an edited member no longer fits its manifest until the edit is taken back; compact keeps an unedited one") {
  const TemporaryDirectory directory;
  const fs::path path = write_three(directory), member = directory / "set-00001-of-00003.ingot";
  const std::vector<std::byte> before = read_bytes(member);
  const std::string root = container::facts(member).root.hex();
  container::edit_metadata(member, {{"note", "x"}});
  check_rejected(path, ErrorKind::mismatch,
                 {"set.ingot", "set-00001-of-00003.ingot", root, container::facts(member).root.hex(), "ingot edit"});
  check_intact(member);
  CHECK(container::open(member).tensors.size() == 1);
  container::edit_metadata(member, {{"note", std::nullopt}});
  check_same(make_three(), container::open(path));
  (void)container::compact(member, fast());
  CHECK(read_bytes(member) == before);
  (void)container::compact(path, fast());
  check_same(make_three(), container::open(path));
}

TEST_CASE("a missing, exchanged, cut or foreign member is named together with its manifest") {
  const TemporaryDirectory directory;
  const fs::path path = write_three(directory), first = directory / "set-00001-of-00003.ingot",
                 second = directory / "set-00002-of-00003.ingot";
  const std::vector<std::byte> good = read_bytes(second);
  const std::vector<std::string> names = {"set.ingot", "set-00002-of-00003.ingot"};
  fs::remove(second);
  check_rejected(path, ErrorKind::io, names);
  fs::create_directory(second);
  check_rejected(path, ErrorKind::io, names);
  fs::remove(second);
  write_bytes(second, read_bytes(first));
  check_rejected(path, ErrorKind::mismatch, names);
  for (const std::size_t size : {std::size_t{0}, std::size_t{4095}, std::size_t{4096}, good.size() - 1}) {
    write_bytes(second, Bytes(good).first(size));
    check_rejected(path, ErrorKind::truncated, names);
  }
  write_bytes(second, as_bytes_view(std::string(5000, 'x')));
  check_rejected(path, ErrorKind::bad_magic, names);
  write_bytes(second, with_index(good, [](Json& j) { member(j, "metadata").set("a", "b"); }));
  check_rejected(path, ErrorKind::mismatch, names);
  write_bytes(second, good);
  check_intact(path);
}

TEST_CASE("verify checks every member, says in which file the damage is, and goes on behind a missing one") {
  const TemporaryDirectory directory;
  const fs::path path = write_three(directory);
  const auto damage = [&](const char* name) {
    std::vector<std::byte> bytes = read_bytes(directory / name);
    bytes[4096 + 10] ^= std::byte{1};
    write_bytes(directory / name, bytes);
  };
  damage("set-00003-of-00003.ingot");
  container::VerifyResult result = container::verify(path, false, {});
  REQUIRE(result.findings.size() == 1);
  CHECK(result.findings[0].kind == ErrorKind::bad_checksum);
  CHECK(result.findings[0].message.find("set-00003-of-00003.ingot") != std::string::npos);
  CHECK(container::open(path).tensors.size() == 3);  // opening reads no data
  damage("set-00001-of-00003.ingot");
  fs::remove(directory / "set-00002-of-00003.ingot");
  result = container::verify(path, false, {});
  REQUIRE(result.findings.size() == 3);
  CHECK(result.findings[0].kind == ErrorKind::io);
  CHECK(result.findings[1].message.find("set-00001-of-00003.ingot") != std::string::npos);
  CHECK(result.findings[2].message.find("set-00003-of-00003.ingot") != std::string::npos);
}

TEST_CASE("manifests that lie are rejected: counts, names, nesting, themselves, paths, limits") {
  const TemporaryDirectory directory;
  const fs::path path = write_three(directory);
  const std::vector<std::byte> good = read_bytes(path);
  const auto rejects = [&](ErrorKind kind, const char* what, const std::function<void(JsonArray&)>& change) {
    INFO(std::string(what));
    write_bytes(path, good);
    forge_members(path, change);
    check_rejected(path, kind, {"set.ingot"});
  };
  constexpr ErrorKind invalid = ErrorKind::invalid_value;
  rejects(invalid, "too many tensors", [](JsonArray& m) { m[0].set("tensors", 2); });
  rejects(invalid, "too few tensors", [](JsonArray& m) { m[0].set("tensors", 0); });
  rejects(invalid, "huge count", [](JsonArray& m) { m[0].set("tensors", (std::uint64_t{1} << 53) - 1); });
  rejects(invalid, "negative count", [](JsonArray& m) { m[0].set("tensors", -1); });
  rejects(invalid, "an extra field", [](JsonArray& m) { m[0].set("size", 5); });
  rejects(invalid, "no members", [](JsonArray& m) { m.clear(); });
  rejects(invalid, "a member twice", [](JsonArray& m) { m[1] = Json(m[0]); });
  rejects(invalid, "alias without its tensor", [](JsonArray& m) { m.pop_back(); });
  rejects(invalid, "itself", [](JsonArray& m) { m[0].set("path", "set.ingot"); });
  for (const char* bad : {"", ".", "..", "/set-00001-of-00003.ingot", "../x/set-00001-of-00003.ingot",
                          "a/../set-00001-of-00003.ingot", "./set-00001-of-00003.ingot", "a//b", "a\\b", "a/"})
    rejects(invalid, bad, [&](JsonArray& m) { m[0].set("path", bad); });
  rejects(ErrorKind::limit_exceeded, "a long path", [](JsonArray& m) { m[0].set("path", std::string(4097, 'x')); });
  rejects(ErrorKind::limit_exceeded, "too many members", [](JsonArray& m) {
    const Json one = m[0];
    m.assign(16385, one);
    for (std::size_t i = 0; i < m.size(); ++i) m[i].set("path", std::to_string(i));
  });
  write_bytes(path, good);
  const container::SetMember first = container::facts(path).members[0];
  rejects(ErrorKind::mismatch, "one file under two names", [&](JsonArray& m) {
    m[1].set("path", "again.ingot");
    fs::copy_file(directory / first.path.c_str(), directory / "again.ingot");
  });
  rejects(invalid, "tensors twice", [&](JsonArray& m) {
    m[1].set("path", "again.ingot");
    m[1].set("root", first.root.hex());
  });
  check_rejected(path, invalid, {"set.ingot", "set-00001-of-00003.ingot", "again.ingot"});
  write_bytes(path, good);
  fs::copy_file(path, directory / "nested.ingot");
  rejects(invalid, "a set in a set", [&](JsonArray& m) {
    m[0].set("path", "nested.ingot");
    m[0].set("root", container::facts(directory / "nested.ingot").root.hex());
  });
  write_bytes(path, with_slot(good, [](container::Slot& slot) { slot.required_features = 0; }));
  check_rejected(path, invalid, {"set.ingot"});
  const fs::path lonely = directory / "set-00001-of-00003.ingot";
  write_bytes(lonely, with_slot(read_bytes(lonely), [](container::Slot& slot) { slot.required_features = 2; }));
  CHECK(throws_kind(invalid, [&] { (void)container::open(lonely); }));
}

TEST_CASE("a writer of a set that is killed at any step leaves a whole set or no manifest") {
  const TemporaryDirectory directory;
  const WithThreads one_thread(1);
  const auto write = [&] { (void)container::write(make_three(), directory / "set.ingot", sharded(10000)); };
  const std::vector<std::uint64_t> steps = steps_to_try(directory, write);
  for (const std::uint64_t step : steps) {
    clear(directory);
    CHECK(dies_at(step, write) == (step != steps.back()));
    CHECK(whole_set_or_none(directory) == (step == steps.back()));  // the last step is the rename of the manifest
  }
  check_same(make_three(), container::open(directory / "set.ingot"));
}

TEST_CASE("a writer that replaces a set and is killed at any step leaves the old set, no manifest, or the new one") {
  const TemporaryDirectory directory, old;
  const WithThreads one_thread(1);
  (void)write_three(old, 77);
  const auto put_old = [&] {
    clear(directory);
    for (const auto& entry : fs::directory_iterator(old.path()))
      fs::copy(entry, directory.path() / entry.path().filename());
  };
  const auto write = [&] { (void)container::write(make_three(), directory / "set.ingot", sharded(10000)); };
  put_old();
  const std::vector<std::uint64_t> steps = steps_to_try(directory, write);
  std::uint64_t standing = 0;
  for (const std::uint64_t step : steps) {
    put_old();
    CHECK(dies_at(step, write) == (step != steps.back()));
    standing += whole_set_or_none(directory);
  }
  CHECK(standing == 2);  // killed before the first step, the removal of the old manifest; and not killed
  check_same(make_three(), container::open(directory / "set.ingot"));
}

TEST_CASE("a set that cannot be finished leaves nothing behind") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "set.ingot";
  tensor::Model model = make_three();
  model.tensors[2].planes = std::make_shared<FailingPlanes>();
  CHECK(throws_kind(ErrorKind::bad_checksum, [&] { (void)container::write(model, path, sharded(10000)); }));
  CHECK(fs::is_empty(directory.path()));
  model = make_three();
  model.tensors[1].name = "c";
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)container::write(model, path, sharded(10000)); }));
  model = make_three();
  model.aliases["x"] = "nothing";
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)container::write(model, path, sharded(10000)); }));
  CHECK(throws_kind(ErrorKind::invalid_value,
                    [&] { (void)container::write(make_three(), directory / "a\\b.ingot", sharded(10000)); }));
  CHECK(throws_kind(ErrorKind::invalid_value,
                    [&] { (void)container::write(make_three(), directory / "\xFF.ingot", sharded(10000)); }));
  CHECK(fs::is_empty(directory.path()));
  model.tensors.assign(16385, make_three().tensors[0]);
  model.aliases.clear();
  for (std::size_t i = 0; i < model.tensors.size(); ++i) model.tensors[i].name = std::to_string(i);
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)container::write(model, path, sharded(1)); }));
  CHECK(fs::is_empty(directory.path()));
}

TEST_CASE("writing and verifying a set need less than 64 MiB, and report progress up to the total") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "set.ingot";
  tensor::Model model = make_small_model();
  for (int i = 0; i < 6; ++i) {
    tensor::Tensor& one = model.tensors.emplace_back();
    one.name = std::to_string(i);
    one.shape = {5 << 10, 1024};  // 20 MiB
    one.scheme = tensor::Scheme::plain(tensor::DType::f32);
    one.planes = std::make_shared<ZeroPlanes>();
  }
  std::uint64_t last = 0, total = 0;
  bool is_ascending = true;
  container::WriteOptions options = sharded(24 << 20);
  options.progress = [&](std::string_view phase, std::uint64_t done, std::uint64_t all) {
    is_ascending &= done >= last && phase == "writing" && (total == 0 || all == total);
    last = done;
    total = all;
  };
  const std::int64_t before = memory_in_use();
  reset_memory_peak();
  (void)container::write(model, path, options);
  check_intact(path);
  CHECK(memory_peak() - before < std::int64_t{64} << 20);
  CHECK(container::facts(path).members.size() == 6);
  CHECK(is_ascending);
  CHECK(total > 120 << 20);
  CHECK(last == total);
}

}  // namespace ingot::test
