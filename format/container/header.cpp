#include "format/container/header.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "format/container/container.h"
#include "format/container/limits.h"

namespace ingot::container {
namespace {

constexpr std::array<unsigned char, kMagicBytes> kMagic = {0x89, 'I', 'N', 'G', 'T', 0x0D, 0x0A, 0x1A};
constexpr std::uint64_t kReservedOffset = 88, kReservedBytes = 32, kChecksumOffset = 120;

bool starts_with_magic(Bytes bytes) noexcept {
  return bytes.size() >= kMagicBytes && std::memcmp(bytes.data(), kMagic.data(), kMagicBytes) == 0;
}

Hash128 hash_at(const std::byte* at) noexcept {
  Hash128 hash;
  std::copy_n(at, hash.bytes.size(), hash.bytes.begin());
  return hash;
}

/// The fields of the current slot against the specification and the real size of the file.
void check_slot(const Slot& slot, std::uint64_t slot_offset, std::uint64_t actual_bytes, std::string_view where) {
  const auto fail = [&](ErrorKind kind, std::uint64_t field, const std::string& what) {
    throw Error(kind, std::string(where) + ": header slot at byte " + std::to_string(slot_offset) + ": " + what,
                slot_offset + field);
  };
  const auto text = [](std::uint64_t value) { return std::to_string(value); };
  if (slot.read_version == 0) fail(ErrorKind::invalid_value, 8, "read_version: expected at least 1, got 0");
  if (slot.read_version > kSpecVersion) {
    fail(ErrorKind::unsupported_version, 8,
         "read_version: expected at most " + text(kSpecVersion) + ", got " + text(slot.read_version));
  }
  const std::uint64_t unknown = slot.required_features & ~(kFeatureZstd | kFeatureSet);
  if (unknown != 0) fail(ErrorKind::unsupported_version, 16, "unknown required feature bits " + text(unknown));
  if (slot.file_size > kMaxFileBytes) {
    fail(ErrorKind::limit_exceeded, 80,
         "file_size: expected at most " + text(kMaxFileBytes) + ", got " + text(slot.file_size));
  }
  if (slot.index_size > kMaxIndexBytes) {
    fail(ErrorKind::limit_exceeded, 40,
         "index_size: expected at most " + text(kMaxIndexBytes) + ", got " + text(slot.index_size));
  }
  if (slot.index_size < 2)
    fail(ErrorKind::invalid_value, 40, "index_size: expected at least 2, got " + text(slot.index_size));
  if (slot.index_offset < kHeaderBytes || slot.index_offset % 64 != 0 || slot.index_offset > slot.file_size) {
    fail(ErrorKind::invalid_value, 32,
         "index_offset: expected a multiple of 64 behind the header, got " + text(slot.index_offset));
  }
  if (slot.file_size - slot.index_offset < slot.index_size) {
    fail(ErrorKind::invalid_value, 80,
         "file_size: expected at least the end of the index at " + text(slot.index_offset + slot.index_size) +
             ", got " + text(slot.file_size));
  }
  if (slot.file_size > actual_bytes) {
    throw Error(ErrorKind::truncated,
                std::string(where) + ": expected " + text(slot.file_size) + " bytes, got " + text(actual_bytes),
                actual_bytes);
  }
}

}  // namespace

bool looks_like_ingot(Bytes first_bytes) noexcept { return starts_with_magic(first_bytes); }

std::uint64_t first_nonzero(Bytes bytes) noexcept {
  return static_cast<std::uint64_t>(
      std::find_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; }) - bytes.begin());
}

SlotBytes encode_slot(const Slot& slot) noexcept {
  SlotBytes bytes{};
  store_le(&bytes[0], slot.generation);
  store_le(&bytes[8], slot.read_version);
  store_le(&bytes[12], slot.write_version);
  store_le(&bytes[16], slot.required_features);
  store_le(&bytes[24], slot.optional_features);
  store_le(&bytes[32], slot.index_offset);
  store_le(&bytes[40], slot.index_size);
  std::copy(slot.index_hash.bytes.begin(), slot.index_hash.bytes.end(), &bytes[48]);
  std::copy(slot.data_root.bytes.begin(), slot.data_root.bytes.end(), &bytes[64]);
  store_le(&bytes[80], slot.file_size);
  store_le(&bytes[kChecksumOffset], hash64(Bytes(bytes.data(), kChecksumOffset)));
  return bytes;
}

SlotState decode_slot(Bytes bytes, Slot& slot) noexcept {
  if (first_nonzero(bytes) == bytes.size()) return SlotState::empty;
  const std::byte* at = bytes.data();
  if (load_le<std::uint64_t>(at + kChecksumOffset) != hash64(bytes.first(kChecksumOffset))) return SlotState::invalid;
  if (first_nonzero(bytes.subspan(kReservedOffset, kReservedBytes)) != kReservedBytes) return SlotState::invalid;
  Slot read;
  read.generation = load_le<std::uint64_t>(at);
  if (read.generation == 0) return SlotState::invalid;
  read.read_version = load_le<std::uint32_t>(at + 8);
  read.write_version = load_le<std::uint32_t>(at + 12);
  read.required_features = load_le<std::uint64_t>(at + 16);
  read.optional_features = load_le<std::uint64_t>(at + 24);
  read.index_offset = load_le<std::uint64_t>(at + 32);
  read.index_size = load_le<std::uint64_t>(at + 40);
  read.index_hash = hash_at(at + 48);
  read.data_root = hash_at(at + 64);
  read.file_size = load_le<std::uint64_t>(at + 80);
  slot = read;
  return SlotState::valid;
}

std::array<std::byte, kHeaderBytes> encode_header(const Slot& slot) noexcept {
  std::array<std::byte, kHeaderBytes> page{};
  std::memcpy(page.data(), kMagic.data(), kMagicBytes);
  store_le(&page[kMagicBytes], kHeaderVersion);
  const SlotBytes bytes = encode_slot(slot);
  std::copy(bytes.begin(), bytes.end(), &page[kSlotOffsets[0]]);
  return page;
}

Header read_header(Bytes file, std::string_view where) {
  if (file.size() < kHeaderBytes) {
    throw Error(ErrorKind::truncated,
                std::string(where) + ": expected a header page of 4096 bytes, got " + std::to_string(file.size()),
                file.size());
  }
  if (!starts_with_magic(file)) {
    throw Error(ErrorKind::bad_magic, std::string(where) + ": not an .ingot file (the first 8 bytes differ)", 0);
  }
  const auto version = load_le<std::uint32_t>(&file[kMagicBytes]);
  if (version != kHeaderVersion) {
    throw Error(ErrorKind::unsupported_version,
                std::string(where) + ": header version: expected 1, got " + std::to_string(version), 8);
  }
  std::array<Slot, 2> slots;
  std::array<SlotState, 2> states{};
  for (std::size_t i = 0; i < 2; ++i) states[i] = decode_slot(file.subspan(kSlotOffsets[i], kSlotBytes), slots[i]);
  const bool a_valid = states[0] == SlotState::valid, b_valid = states[1] == SlotState::valid;
  if (!a_valid && !b_valid) {
    throw Error(ErrorKind::bad_checksum, std::string(where) + ": no valid header slot at bytes 512 and 1024",
                kSlotOffsets[0]);
  }
  if (a_valid && b_valid && slots[0].generation == slots[1].generation) {
    throw Error(ErrorKind::invalid_value,
                std::string(where) + ": both header slots have generation " + std::to_string(slots[0].generation),
                kSlotOffsets[1]);
  }
  const std::size_t current = b_valid && (!a_valid || slots[1].generation > slots[0].generation) ? 1 : 0;
  check_slot(slots[current], kSlotOffsets[current], file.size(), where);
  return Header{slots[current], static_cast<int>(current), states[1 - current]};
}

}  // namespace ingot::container
