#include "converters/files/stored_zip.h"

#include <algorithm>
#include <set>
#include <string>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                        kLocator64 = 0x07064b50;
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56;
constexpr std::uint64_t kLongestComment = 65'535;
constexpr std::uint64_t kSaturated = 0xffff'ffff;  // the real number is in the ZIP64 field
constexpr std::uint16_t kZip64Field = 1, kEncrypted = 1;

struct Directory {
  std::uint64_t begin = 0, size = 0, count = 0;
};

struct CentralEntry {
  ZipEntry entry;
  std::uint64_t header = 0;  // offset of its local header
};

class ZipParser {
 public:
  ZipParser(Bytes file, std::string_view where) : file_(file), where_(where) {}

  std::vector<ZipEntry> run() {
    const Directory directory = find_directory();
    if (directory.begin > file_.size() || directory.size > file_.size() - directory.begin)
      fail(ErrorKind::truncated, "its directory lies outside the file", file_.size());
    if (directory.count > directory.size / kCentralBytes)
      fail(ErrorKind::invalid_value,
           std::to_string(directory.count) + " entries in a directory of " + std::to_string(directory.size) + " bytes",
           directory.begin);
    ByteReader reader(file_.subspan(directory.begin, directory.size), where_, directory.begin);
    std::vector<CentralEntry> entries;
    entries.reserve(directory.count);
    for (std::uint64_t i = 0; i < directory.count; ++i) entries.push_back(read_central(reader));
    if (reader.remaining() != 0)
      fail(ErrorKind::invalid_value, "bytes after the last entry of the directory", reader.offset());
    return place(std::move(entries), directory.begin);
  }

 private:
  [[noreturn]] void fail(ErrorKind kind, const std::string& what, std::uint64_t offset) const {
    throw Error(kind, std::string(where_) + ": ZIP archive: " + what, offset);
  }
  [[nodiscard]] ByteReader at(std::uint64_t offset) const {
    if (offset > file_.size()) fail(ErrorKind::truncated, "a record lies outside the file", file_.size());
    return ByteReader(file_.subspan(offset), where_, offset);
  }

  /// The end record is the last thing in the file: its comment reaches exactly to the end.
  [[nodiscard]] std::uint64_t find_end() const {
    for (std::uint64_t tail = kEndBytes; tail <= std::min<std::uint64_t>(kEndBytes + kLongestComment, file_.size());
         ++tail) {
      const std::byte* record = file_.data() + (file_.size() - tail);
      if (load_le<std::uint32_t>(record) == kEnd && load_le<std::uint16_t>(record + 20) == tail - kEndBytes)
        return file_.size() - tail;
    }
    fail(ErrorKind::truncated, "no end record: the file is cut off", file_.size());
  }

  [[nodiscard]] Directory find_directory() const {
    const std::uint64_t end = find_end();
    ByteReader reader = at(end);
    reader.skip(4, "ZIP end record");
    const std::uint32_t disks = reader.read_u32("ZIP end record");
    reader.skip(2, "ZIP end record");
    Directory found;
    found.count = reader.read_u16("ZIP end record");
    found.size = reader.read_u32("ZIP end record");
    found.begin = reader.read_u32("ZIP end record");
    std::uint64_t limit = end;
    const bool zip64 =
        end >= kLocatorBytes && load_le<std::uint32_t>(file_.data() + (end - kLocatorBytes)) == kLocator64;
    if (zip64) {
      limit = load_le<std::uint64_t>(file_.data() + (end - kLocatorBytes + 8));
      if (end < kLocatorBytes + kEnd64Bytes || limit > end - kLocatorBytes - kEnd64Bytes)
        fail(ErrorKind::invalid_value, "its ZIP64 end record lies outside the file", end - kLocatorBytes);
      ByteReader wide = at(limit);
      if (wide.read_u32("ZIP64 end record") != kEnd64) fail(ErrorKind::invalid_value, "no ZIP64 end record", limit);
      wide.skip(8 + 4 + 8 + 8, "ZIP64 end record");
      found.count = wide.read_u64("ZIP64 end record");
      found.size = wide.read_u64("ZIP64 end record");
      found.begin = wide.read_u64("ZIP64 end record");
    } else if (disks != 0) {
      fail(ErrorKind::unsupported, "in several parts", end);
    }
    if (found.begin > limit || found.size > limit - found.begin)
      fail(ErrorKind::invalid_value, "its directory overlaps what follows it", end);
    return found;
  }

  [[nodiscard]] CentralEntry read_central(ByteReader& reader) const {
    const std::uint64_t begin = reader.offset();
    if (reader.read_u32("ZIP directory") != kCentralHeader)
      fail(ErrorKind::invalid_value, "no directory entry where one should be", begin);
    reader.skip(4, "ZIP directory");
    const std::uint16_t flags = reader.read_u16("ZIP directory"), method = reader.read_u16("ZIP directory");
    reader.skip(8, "ZIP directory");
    std::uint64_t packed = reader.read_u32("ZIP directory"), size = reader.read_u32("ZIP directory");
    const std::uint16_t name_bytes = reader.read_u16("ZIP directory"), extra_bytes = reader.read_u16("ZIP directory"),
                        comment_bytes = reader.read_u16("ZIP directory");
    reader.skip(8, "ZIP directory");
    CentralEntry result;
    result.header = reader.read_u32("ZIP directory");
    result.entry.name = as_text(reader.take(name_bytes, "ZIP name"));
    read_zip64(reader.take(extra_bytes, "ZIP extra field"), size, packed, result.header);
    reader.skip(comment_bytes, "ZIP comment");
    const std::string named = "entry '" + std::string(result.entry.name) + "'";
    if ((flags & kEncrypted) != 0) fail(ErrorKind::unsupported, named + " is encrypted", begin);
    if (method != 0) {
      fail(ErrorKind::unsupported,
           named + " is compressed (method " + std::to_string(method) +
               "); torch.save stores entries as they are, so another program has packed this",
           begin);
    }
    if (packed != size) fail(ErrorKind::invalid_value, named + " is stored, but has two sizes", begin);
    result.entry.size = size;
    return result;
  }

  /// The wide numbers stand in this order, each only where the narrow one is saturated.
  void read_zip64(Bytes extra, std::uint64_t& size, std::uint64_t& packed, std::uint64_t& header) const {
    ByteReader fields(extra, where_);
    while (fields.remaining() >= 4) {
      const std::uint16_t id = fields.read_u16("ZIP extra field"), bytes = fields.read_u16("ZIP extra field");
      ByteReader field(fields.take(bytes, "ZIP extra field"), where_);
      if (id != kZip64Field) continue;
      for (std::uint64_t* number : {&size, &packed, &header})
        if (*number == kSaturated) *number = field.read_u64("ZIP64 field");
    }
  }

  /// Checks the local headers: same names, inside the part before the directory, one after the other.
  [[nodiscard]] std::vector<ZipEntry> place(std::vector<CentralEntry> entries, std::uint64_t directory_begin) const {
    std::sort(entries.begin(), entries.end(),
              [](const CentralEntry& a, const CentralEntry& b) { return a.header < b.header; });
    std::set<std::string_view> names;
    std::vector<ZipEntry> placed;
    placed.reserve(entries.size());
    std::uint64_t position = 0;
    for (CentralEntry& found : entries) {
      const std::string named = "entry '" + std::string(found.entry.name) + "'";
      if (found.header < position) fail(ErrorKind::invalid_value, named + " overlaps another", found.header);
      if (!names.insert(found.entry.name).second) fail(ErrorKind::invalid_value, named + " occurs twice", found.header);
      ByteReader reader = at(found.header);
      if (reader.read_u32("ZIP entry") != kLocalHeader)
        fail(ErrorKind::invalid_value, named + " has no header", found.header);
      reader.skip(kLocalBytes - 8, "ZIP entry");
      const std::uint16_t name_bytes = reader.read_u16("ZIP entry"), extra_bytes = reader.read_u16("ZIP entry");
      if (as_text(reader.take(name_bytes, "ZIP name")) != found.entry.name)
        fail(ErrorKind::invalid_value, named + " has another name in its own header", found.header);
      reader.skip(extra_bytes, "ZIP extra field");
      found.entry.begin = reader.offset();
      if (found.entry.begin > directory_begin || found.entry.size > directory_begin - found.entry.begin)
        fail(ErrorKind::invalid_value, named + " reaches into the directory", found.header);
      position = found.entry.begin + found.entry.size;
      placed.push_back(found.entry);
    }
    return placed;
  }

  Bytes file_;
  std::string_view where_;
};

}  // namespace

std::vector<ZipEntry> parse_stored_zip(Bytes file, std::string_view where) { return ZipParser(file, where).run(); }

}  // namespace ingot::convert
