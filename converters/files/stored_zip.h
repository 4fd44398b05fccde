// The directory of a ZIP archive whose entries are stored as they are, as torch.save writes it. No decompression.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"

namespace ingot::convert {

struct ZipEntry {
  std::string_view name;              // borrowed from the file
  std::uint64_t begin = 0, size = 0;  // bytes from the file's start
};

/// Entries by position. ZIP64 is understood. Throws truncated, invalid_value (entries outside the file, overlapping, or
/// with another name in their own header) or unsupported (compressed, encrypted, in several parts). `where` names the
/// file.
[[nodiscard]] std::vector<ZipEntry> parse_stored_zip(Bytes file, std::string_view where);

}  // namespace ingot::convert
