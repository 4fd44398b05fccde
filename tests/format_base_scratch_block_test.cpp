// ScratchBlock: bytes of a file that nobody sees, and no block where the file cannot be.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "format/base/scratch_block.h"
#include "tests/skip.h"
#include "tests/temporary_directory.h"

using ingot::ScratchBlock;

namespace {

constexpr std::uint64_t kBytes = (std::uint64_t{4} << 20) + 5;

/// Memory of this process that belongs to no file, in KiB.
std::uint64_t anonymous_kib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8));
  return 0;
}

}  // namespace

TEST_CASE("a scratch block is zero, writable to its last byte and owns no memory") {
  const ingot::test::TemporaryDirectory directory;
  std::optional<ScratchBlock> block = ScratchBlock::create(directory.path(), kBytes);
  if (!block) return ingot::test::skip("no files without a name in " + directory.path().string());
  REQUIRE(block->bytes().size() == kBytes);
  CHECK(std::ranges::all_of(block->bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
  const std::uint64_t before_kib = anonymous_kib();
  std::ranges::fill(block->bytes(), std::byte{7});
  CHECK(block->bytes().back() == std::byte{7});
  CHECK(anonymous_kib() < before_kib + 1024);
  CHECK(std::filesystem::is_empty(directory.path()));
  ScratchBlock moved = std::move(*block);
  CHECK(block->bytes().empty());
  CHECK(moved.bytes()[kBytes / 2] == std::byte{7});
}

TEST_CASE("where a file cannot be there is no scratch block") {
  const ingot::test::TemporaryDirectory directory;
  CHECK_FALSE(ScratchBlock::create(directory.path() / "missing", kBytes).has_value());
  CHECK_FALSE(ScratchBlock::create(directory.path(), 0).has_value());
  CHECK_FALSE(ScratchBlock::create(directory.path(), std::numeric_limits<std::uint64_t>::max()).has_value());
  // More than any disk has room for: the room is asked for before the first byte is written.
  CHECK_FALSE(ScratchBlock::create(directory.path(), std::uint64_t{1} << 50).has_value());
}

TEST_CASE("a scratch block is on a disk where files have no need of a name") {
  const ingot::test::TemporaryDirectory directory;
  CHECK_FALSE(ScratchBlock::is_on_disk_in(directory.path() / "missing"));
  CHECK_FALSE(ScratchBlock::is_on_disk_in("/proc"));
  if (!ScratchBlock::is_on_disk_in(directory.path()))
    return ingot::test::skip("temporary directories are not on a disk");
  CHECK(ScratchBlock::create(directory.path(), 1).has_value());
  CHECK(std::filesystem::is_empty(directory.path()));
}
