#include "format/container/chunk_cache.h"

#include <algorithm>
#include <utility>

namespace ingot::container {

std::shared_ptr<ChunkCache::Entry> ChunkCache::entry_of(std::uint64_t row) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry->row == row; });
  if (found != entries_.end()) {
    std::rotate(entries_.begin(), found, found + 1);
    return entries_.front();
  }
  if (entries_.size() == kEntries) entries_.pop_back();
  auto entry = std::make_shared<Entry>();
  entry->row = row;
  entries_.insert(entries_.begin(), entry);
  return entry;
}

std::shared_ptr<const std::vector<std::byte>> ChunkCache::get(std::uint64_t row, std::uint64_t raw_bytes,
                                                              const Fill& fill) {
  std::shared_ptr<Entry> entry = entry_of(row);
  const std::lock_guard lock(entry->filling);
  if (!entry->is_filled) {
    entry->bytes.resize(raw_bytes);
    decode(entry->bytes, fill);
    entry->is_filled = true;
  }
  return {entry, &entry->bytes};
}

void ChunkCache::decode(std::span<std::byte> raw, const Fill& fill) {
  std::vector<ChunkDecoder> borrowed;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_decoders_.empty()) {
      borrowed.push_back(std::move(idle_decoders_.back()));
      idle_decoders_.pop_back();
    }
  }
  if (borrowed.empty()) borrowed.emplace_back();
  fill(borrowed.back(), raw);
  const std::lock_guard lock(mutex_);
  idle_decoders_.push_back(std::move(borrowed.back()));
}

}  // namespace ingot::container
