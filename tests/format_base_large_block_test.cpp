// LargeBlock: what it promises about addresses, contents and the memory it takes.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <new>
#include <sstream>
#include <string>
#include <utility>

#include "format/base/large_block.h"
#include "tests/skip.h"

using ingot::LargeBlock;

namespace {

constexpr std::uint64_t kLargePage = std::uint64_t{2} << 20;

std::uint64_t mapped_bytes() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// The flags that the kernel shows for the mapping around an address.
std::string mapping_flags(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream file("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    std::uintptr_t begin = 0, end = 0;
    char dash = 0;
    if (std::istringstream(line) >> std::hex >> begin >> dash >> end && dash == '-')
      inside = begin <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

}  // namespace

TEST_CASE("a large block is zero, writable to its last byte and aligned") {
  for (const std::uint64_t bytes :
       {std::uint64_t{1}, std::uint64_t{4097}, kLargePage - 1, kLargePage, 3 * kLargePage + 5}) {
    CAPTURE(bytes);
    LargeBlock block(bytes);
    REQUIRE(block.bytes().size() == bytes);
    const auto address = reinterpret_cast<std::uintptr_t>(block.bytes().data());
    CHECK(address % (bytes < kLargePage ? 4096 : kLargePage) == 0);
    CHECK(std::ranges::all_of(block.bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
    std::ranges::fill(block.bytes(), std::byte{7});
    CHECK(block.bytes().back() == std::byte{7});
    CHECK(block.as<float>().size() == bytes / sizeof(float));
  }
  CHECK(LargeBlock(0).bytes().empty());
}

TEST_CASE("a large block asks for large pages") {
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled")) {
    ingot::test::skip("this kernel has no large pages");
    return;
  }
  const LargeBlock block(2 * kLargePage);
  CHECK(mapping_flags(block.bytes().data()).find(" hg ") != std::string::npos);
}

TEST_CASE("a large block takes no more than it was asked for and gives it all back") {
  (void)mapped_bytes();  // has memory of its own from now on
  const std::uint64_t bytes = 16 * kLargePage + 100, before = mapped_bytes();
  {
    LargeBlock first(bytes);
    CHECK(mapped_bytes() - before <= bytes + 4096);
    first.bytes()[0] = std::byte{5};
    LargeBlock second(std::move(first));
    CHECK(first.bytes().empty());
    CHECK(second.bytes()[0] == std::byte{5});
    LargeBlock third(bytes);
    third = std::move(second);
    CHECK(third.bytes()[0] == std::byte{5});
  }
  CHECK(mapped_bytes() == before);
}

TEST_CASE("a block that no machine has is refused") {
  CHECK_THROWS_AS(LargeBlock(std::uint64_t{1} << 60), std::bad_alloc);
  CHECK_THROWS_AS((LargeBlock(std::numeric_limits<std::uint64_t>::max())), std::bad_alloc);
}
