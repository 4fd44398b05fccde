// The header page and its two slots. Implements spec/container.md sections 1 and 2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "format/base/byte_reader.h"
#include "format/base/hash.h"

namespace ingot::container {

inline constexpr std::uint64_t kHeaderBytes = 4096;
inline constexpr std::uint64_t kMagicBytes = 8;
inline constexpr std::uint64_t kSlotBytes = 128;
inline constexpr std::array<std::uint64_t, 2> kSlotOffsets = {512, 1024};
inline constexpr std::uint32_t kHeaderVersion = 1;
inline constexpr std::uint32_t kSpecVersion = 1;  // written as read_version and write_version
inline constexpr std::uint64_t kFeatureZstd = 1;  // required feature bit 0
inline constexpr std::uint64_t kFeatureSet = 2;   // required feature bit 1: the manifest of a set

/// The fields of a slot, named as in the specification.
struct Slot {
  std::uint64_t generation = 0;
  std::uint32_t read_version = kSpecVersion, write_version = kSpecVersion;
  std::uint64_t required_features = 0, optional_features = 0;
  std::uint64_t index_offset = 0, index_size = 0;
  Hash128 index_hash, data_root;
  std::uint64_t file_size = 0;
};

enum class SlotState : std::uint8_t { empty, valid, invalid };

using SlotBytes = std::array<std::byte, kSlotBytes>;
[[nodiscard]] SlotBytes encode_slot(const Slot& slot) noexcept;
/// Fills `slot` when the answer is valid. Precondition: bytes.size() == kSlotBytes.
[[nodiscard]] SlotState decode_slot(Bytes bytes, Slot& slot) noexcept;

/// A whole header page with `slot` as slot A and an empty slot B.
[[nodiscard]] std::array<std::byte, kHeaderBytes> encode_header(const Slot& slot) noexcept;

/// What the header page says, checked: magic, version, one current slot whose fields are legal and whose file size
/// exists.
struct Header {
  Slot current;
  int current_slot = 0;  // 0: A, 1: B
  SlotState other_state = SlotState::empty;
};
/// `file` is the whole file. Throws bad_magic, truncated, unsupported_version, bad_checksum, invalid_value,
/// limit_exceeded, unsupported.
[[nodiscard]] Header read_header(Bytes file, std::string_view where);

/// The parts of the header page that hold zeros: [begin, end). Checked by verify only.
struct ReservedRange {
  std::uint64_t begin, end;
};
inline constexpr std::array<ReservedRange, 3> kReservedRanges = {{{12, 512}, {640, 1024}, {1152, 4096}}};

/// Offset of the first non-zero byte of `bytes`, or bytes.size().
[[nodiscard]] std::uint64_t first_nonzero(Bytes bytes) noexcept;

}  // namespace ingot::container
