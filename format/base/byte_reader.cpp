#include "format/base/byte_reader.h"

#include <bit>

namespace ingot {

static_assert(std::endian::native == std::endian::little, "load_le and store_le copy bytes unchanged");

Bytes ByteReader::take(std::uint64_t count, std::string_view what) {
  if (count > remaining()) {
    throw Error(ErrorKind::truncated,
                std::string(where_) + ": " + std::string(what) + " at byte " + std::to_string(offset()) +
                    ": expected " + std::to_string(count) + " bytes, got " + std::to_string(remaining()),
                offset());
  }
  const Bytes taken = bytes_.subspan(position_, count);
  position_ += count;
  return taken;
}

}  // namespace ingot
