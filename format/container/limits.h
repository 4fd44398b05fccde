// Every count, length and depth that an .ingot file may have. Implements spec/limits.md: the same names, the same
// numbers.
#pragma once

#include <cstdint>

namespace ingot::container {

inline constexpr std::uint64_t kMaxFileBytes = (std::uint64_t{1} << 53) - 1;  // offsets are JSON integers
inline constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{256} << 20;
inline constexpr std::uint32_t kMaxIndexDepth = 16;
inline constexpr std::uint64_t kMaxInteger = (std::uint64_t{1} << 53) - 1;  // of any number in the index, by magnitude
inline constexpr std::uint64_t kMaxStringBytes = std::uint64_t{16} << 20;   // of any string in the index
inline constexpr std::uint64_t kMaxNameBytes = 1024;  // tensors, aliases, metadata keys, layout, part
inline constexpr std::uint64_t kMaxPathBytes =
    4096;  // attachment names, paths of the restore recipe and of a set's members
inline constexpr std::uint64_t kMaxRank = 8;
inline constexpr std::uint64_t kMaxTensors = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kMaxAliases = 65536;
inline constexpr std::uint64_t kMaxAttachments = 65536;
inline constexpr std::uint64_t kMaxMetadata = 65536;
inline constexpr std::uint64_t kMaxTransforms = 4;
inline constexpr std::uint64_t kMaxMembers = 16384;  // of a set
inline constexpr std::uint64_t kMaxSourceFiles = 65536;
inline constexpr std::uint64_t kMaxSegments = std::uint64_t{1} << 22;  // of one source file; the same for patches
inline constexpr std::uint64_t kMaxZstdWindowBytes = std::uint64_t{8} << 20;
inline constexpr std::uint64_t kMaxTokenizerBytes = std::uint64_t{256} << 20;
inline constexpr std::uint32_t kMaxTokenizerDepth = 16;

}  // namespace ingot::container
