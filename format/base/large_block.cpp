#include "format/base/large_block.h"

#include <sys/mman.h>

#include <limits>
#include <new>
#include <utility>

namespace ingot {
namespace {

constexpr std::uint64_t kLargePage = std::uint64_t{2} << 20;

std::byte* mapped(std::uint64_t bytes) {
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(address);
}

// Room to move the beginning to a large page, without what is then too much before and behind.
std::byte* mapped_at_large_page(std::uint64_t bytes) {
  std::byte* const address = mapped(bytes + kLargePage);
  const std::uint64_t beside = reinterpret_cast<std::uintptr_t>(address) % kLargePage;
  const std::uint64_t before = beside == 0 ? 0 : kLargePage - beside;
  constexpr std::uint64_t kSmallPage = 4096;  // or a multiple of it: then the kernel refuses, and nothing is lost
  const std::uint64_t end = (before + bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  if (before > 0) ::munmap(address, before);
  if (end < bytes + kLargePage) ::munmap(address + end, bytes + kLargePage - end);
  ::madvise(address + before, bytes, MADV_HUGEPAGE);  // a wish: small pages hold the same
  return address + before;
}

}  // namespace

LargeBlock::LargeBlock(std::uint64_t bytes) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<std::int64_t>::max()) throw std::bad_alloc();
  bytes_ = {bytes < kLargePage ? mapped(bytes) : mapped_at_large_page(bytes), bytes};
}

LargeBlock::LargeBlock(LargeBlock&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

LargeBlock& LargeBlock::operator=(LargeBlock&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

LargeBlock::~LargeBlock() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace ingot
