// MappedFile, read_text_file and OutputFile.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/base/output_file.h"
#include "format/base/parallel.h"
#include "format/base/scratch_block.h"
#include "tests/expect_error.h"
#include "tests/skip.h"
#include "tests/small_disk.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using test::error_of;
using test::TemporaryDirectory;
using test::throws_kind;

namespace {

void put(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::string get(const std::filesystem::path& path) { return read_text_file(path, 1u << 30); }

std::size_t entry_count(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

std::uint64_t resident_bytes() {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("mapped_file_shows_the_bytes_and_survives_moves") {
  const TemporaryDirectory directory;
  put(directory / "a", "hello");
  put(directory / "empty", "");
  MappedFile file(directory / "a");
  CHECK(as_text(file.bytes()) == "hello");
  CHECK(file.size() == 5);
  MappedFile moved(std::move(file));
  CHECK(as_text(moved.bytes()) == "hello");
  MappedFile assigned(directory / "empty");
  CHECK(assigned.bytes().empty());
  assigned = std::move(moved);
  CHECK(as_text(assigned.bytes()) == "hello");
  CHECK(assigned.path() == directory / "a");
}

TEST_CASE("files_that_cannot_be_read_are_io_errors") {
  const TemporaryDirectory directory;
  REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
  for (const std::filesystem::path& path :
       {directory / "absent", directory.path(), directory / "fifo", std::filesystem::path("/dev/null")}) {
    CAPTURE(path);
    CHECK(throws_kind(ErrorKind::io, [&] { (void)MappedFile(path); }));
    CHECK(throws_kind(ErrorKind::io, [&] { (void)read_text_file(path, 100); }));
  }
}

TEST_CASE("read_text_file_obeys_its_limit") {
  const TemporaryDirectory directory;
  put(directory / "a", "12345678");
  CHECK(read_text_file(directory / "a", 8) == "12345678");
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)read_text_file(directory / "a", 7); }));
}

TEST_CASE("mapped_file_drop_returns_memory_and_keeps_the_bytes") {
  const TemporaryDirectory directory;
  constexpr std::uint64_t kSize = (64u << 20) + 5;
  put(directory / "big", std::string(kSize, 'x'));
  const MappedFile file(directory / "big");
  const auto sum = [&] {
    std::uint64_t total = 0;
    for (const std::byte byte : file.bytes()) total += std::to_integer<unsigned>(byte);
    return total;
  };
  file.will_need(file.bytes());
  CHECK(sum() == kSize * 'x');
  const std::uint64_t touched = resident_bytes();
  file.drop(file.bytes().subspan(1, kSize - 1));
  CHECK(touched - resident_bytes() > 60u << 20);
  CHECK(sum() == kSize * 'x');
  for (std::uint64_t begin = 0; begin < kSize; begin += 1000000)  // no range ends where a page does
    file.drop(file.bytes().subspan(begin, std::min<std::uint64_t>(1000000, kSize - begin)));
  CHECK(touched - resident_bytes() > 60u << 20);
  CHECK(sum() == kSize * 'x');
  file.drop({});
  file.will_need({});
  file.drop(file.bytes().subspan(10, 20));  // less than a page: nothing to drop
}

TEST_CASE("output_file_appears_only_at_commit") {
  const TemporaryDirectory directory;
  {
    OutputFile file(directory / "out");
    file.write(as_bytes_view("abc"));
    CHECK_FALSE(std::filesystem::exists(directory / "out"));
    std::array<std::byte, 3> written{};
    CHECK(file.read_at(0, written));
    CHECK(as_text(written) == "abc");
    file.write_at(1, as_bytes_view("X"));
    file.write(as_bytes_view("de"));
    CHECK(file.position() == 5);
    file.seek(8);
    file.write(as_bytes_view("f"));
    file.commit();
    CHECK(throws_kind(ErrorKind::io, [&] { file.write(as_bytes_view("late")); }));
    CHECK(throws_kind(ErrorKind::io, [&] { file.commit(); }));
  }
  CHECK(get(directory / "out") == std::string("aXcde\0\0\0f", 9));
  CHECK(entry_count(directory.path()) == 1);
}

TEST_CASE("output_file_without_commit_leaves_the_old_file_alone") {
  const TemporaryDirectory directory;
  put(directory / "out", "old");
  {
    OutputFile file(directory / "out");
    file.write(as_bytes_view("new contents"));
    OutputFile moved(std::move(file));
    moved.write(as_bytes_view(" and more"));
  }
  CHECK(get(directory / "out") == "old");
  CHECK(entry_count(directory.path()) == 1);
}

TEST_CASE("output_file_killed_half_way_leaves_the_old_file_alone") {
  const TemporaryDirectory directory;
  put(directory / "out", "old");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    OutputFile file(directory / "out");
    file.write(as_bytes_view("half"));
    ::_exit(0);  // as a kill: no destructor runs
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(get(directory / "out") == "old");
  const bool knows_unnamed_files = ScratchBlock::create(directory.path(), 1).has_value();
  CHECK(entry_count(directory.path()) == (knows_unnamed_files ? 1 : 2));  // else the file stays under its own name
  write_file_atomically(directory / "out", as_bytes_view("next"));
  CHECK(get(directory / "out") == "next");
}

TEST_CASE("output_file_does_not_change_bytes_that_are_mapped") {
  const TemporaryDirectory directory;
  put(directory / "model", "the source of its own replacement");
  const MappedFile source(directory / "model");
  OutputFile file(directory / "model");
  file.write(source.bytes().subspan(4, 6));
  file.commit();
  CHECK(as_text(source.bytes()) == "the source of its own replacement");
  CHECK(get(directory / "model") == "source");
}

TEST_CASE("output_file_keeps_the_permission_bits_of_the_file_it_replaces") {
  const TemporaryDirectory directory;
  put(directory / "private", "old");
  REQUIRE(::chmod((directory / "private").c_str(), 0600) == 0);
  write_file_atomically(directory / "private", as_bytes_view("new"));
  struct stat status {};
  REQUIRE(::stat((directory / "private").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
}

TEST_CASE("output_files_for_one_target_do_not_share_a_temporary_file") {
  const TemporaryDirectory directory;
  OutputFile first(directory / "out");
  OutputFile second(directory / "out");
  first.write(as_bytes_view("first"));
  second.write(as_bytes_view("second"));
  second.commit();
  first.commit();
  CHECK(get(directory / "out") == "first");
}

TEST_CASE("output_file_refuses_targets_that_are_no_regular_files") {
  const TemporaryDirectory directory;
  CHECK(throws_kind(ErrorKind::io, [&] { OutputFile file(directory.path()); }));
  CHECK(throws_kind(ErrorKind::io, [&] { OutputFile file(directory / "absent/out"); }));
  CHECK(throws_kind(ErrorKind::io, [&] { OutputFile file("/dev/null"); }));
  CHECK(std::filesystem::is_character_file("/dev/null"));
}

TEST_CASE("output_file_reports_a_failed_rename_and_cleans_up") {
  const TemporaryDirectory directory;
  OutputFile file(directory / "out");
  file.write(as_bytes_view("x"));
  std::filesystem::create_directory(directory / "out");
  CHECK(throws_kind(ErrorKind::io, [&] { file.commit(); }));
  CHECK(entry_count(directory.path()) == 1);
}

TEST_CASE("output_file_refuses_offsets_beyond_the_file_system") {
  const TemporaryDirectory directory;
  OutputFile file(directory / "out");
  for (const std::uint64_t offset : {~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 1}) {
    CHECK(throws_kind(ErrorKind::io, [&] { file.write_at(offset, as_bytes_view("xy")); }));
  }
  CHECK(throws_kind(ErrorKind::io, [&] { file.reserve(~std::uint64_t{0}); }));
}

TEST_CASE("output_file_reserve_sets_the_least_size") {
  const TemporaryDirectory directory;
  OutputFile file(directory / "out");
  file.reserve(0);
  file.reserve(10);
  file.write(as_bytes_view("abc"));
  file.write_at(12, as_bytes_view("z"));
  file.reserve(5);  // never shrinks
  file.commit();
  CHECK(get(directory / "out") == std::string("abc\0\0\0\0\0\0\0\0\0z", 13));
}

TEST_CASE("output_file_takes_disjoint_writes_from_several_threads") {
  const TemporaryDirectory directory;
  constexpr std::uint64_t kCount = 200;
  constexpr std::uint64_t kPiece = 777;
  OutputFile file(directory / "out");
  parallel_for(kCount, 1, [&](std::uint64_t begin, std::uint64_t, int) {
    const std::string piece(kPiece, static_cast<char>('a' + begin % 26));
    file.write_at(begin * kPiece, as_bytes_view(piece));
  });
  file.commit();
  const std::string text = get(directory / "out");
  REQUIRE(text.size() == kCount * kPiece);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < text.size(); ++i) wrong += text[i] != static_cast<char>('a' + i / kPiece % 26);
  CHECK(wrong == 0);
}

TEST_CASE("output_file_on_a_full_disk_keeps_the_old_file") {
  const TemporaryDirectory directory;
  const test::SmallDisk disk(directory / "disk", std::uint64_t{1} << 20);
  if (!disk.mounted()) return test::skip("mounting a small file system needs root");
  const std::filesystem::path target = directory / "disk/out";
  put(target, "old");
  CHECK(throws_kind(ErrorKind::io, [&] {
    OutputFile file(target);
    file.reserve(2u << 20);
  }));
  const std::string half(512u << 10, 'x');
  std::uint64_t written = 0;
  const auto error = error_of([&] {
    OutputFile file(target);
    for (;; written += half.size()) file.write(as_bytes_view(half));
  });
  REQUIRE(error);
  CHECK(error->kind == ErrorKind::io);
  CHECK(written == half.size());
  CHECK(error->offset >= written);  // where the disk was full
  CHECK(error->offset < 1u << 20);
  CHECK(get(target) == "old");
  CHECK(entry_count(directory / "disk") == 1);
  write_file_atomically(target, as_bytes_view("fits"));  // the space came back
  CHECK(get(target) == "fits");
}
