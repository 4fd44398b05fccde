#include "converters/files/torch_file.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "converters/files/stored_zip.h"
#include "converters/files/torch_state.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Kind = PickleValue::Kind;

constexpr std::uint32_t kZipEntry = 0x04034b50;
constexpr std::uint64_t kZipNameAt = 30, kZipNameBytesAt = 26;
constexpr std::byte kPickleBegin{0x80};
// The number with which the stream begins (80 bits, as the pickle holds it), and its version.
constexpr std::string_view kStreamMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr std::int64_t kStreamVersion = 1001;

/// Where the bytes of a storage lie.
struct Range {
  std::uint64_t begin = 0, size = 0;
};
using Ranges = std::map<std::string_view, Range>;  // by key

class TorchFileReader {
 public:
  TorchFileReader(Bytes file, std::string_view where) : file_(file), where_(where) {}

  TorchState run() {
    const bool is_zip = file_.size() >= 4 && load_le<std::uint32_t>(file_.data()) == kZipEntry;
    is_zip ? read_archive() : read_stream();
    StateDict state = find_state_dict(*pickle_, objects_, where_);
    TorchState result{{}, std::move(state.facts), std::move(state.notes)};
    result.entries.reserve(state.tensors.size());
    for (const auto& [name, tensor] : state.tensors) result.entries.push_back(entry_of(name, *tensor));
    return result;
  }

 private:
  [[noreturn]] void fail(ErrorKind kind, const std::string& what, std::uint64_t offset = Error::kNoOffset) const {
    throw Error(kind, std::string(where_) + ": " + what, offset);
  }

  // --- the archive: data.pkl, data/<key>, byteorder ---
  void read_archive() {
    const std::vector<ZipEntry> entries = parse_stored_zip(file_, where_);
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& entry : entries) {
      if (entry.name != "data.pkl" && !entry.name.ends_with("/data.pkl")) continue;
      if (pickle != nullptr) fail(ErrorKind::invalid_value, "two entries named data.pkl", entry.begin);
      pickle = &entry;
    }
    if (pickle == nullptr) fail(ErrorKind::unsupported, "a ZIP archive without data.pkl: not written by torch.save");
    const std::string prefix(pickle->name.substr(0, pickle->name.size() - std::string_view("data.pkl").size()));
    const std::string storage_prefix = prefix + "data/";
    for (const ZipEntry& entry : entries) {
      if (!entry.name.starts_with(prefix)) continue;
      if (entry.name.starts_with(storage_prefix)) {
        ranges_.emplace(entry.name.substr(storage_prefix.size()), Range{entry.begin, entry.size});
        continue;
      }
      const std::string_view name = entry.name.substr(prefix.size());
      if (name.starts_with("code/")) fail(ErrorKind::unsupported, "a TorchScript program, not a state dict");
      if (name == "byteorder" && as_text(file_.subspan(entry.begin, entry.size)) != "little")
        fail(ErrorKind::unsupported, "not little-endian (entry '" + std::string(entry.name) + "')", entry.begin);
    }
    ByteReader reader(file_.subspan(pickle->begin, pickle->size), where_, pickle->begin);
    pickle_.emplace(reader, objects_);
    if (reader.remaining() != 0) fail(ErrorKind::invalid_value, "bytes after the end of data.pkl", reader.offset());
  }

  // --- the stream: magic, version, system, object, keys, then each storage with its length ---
  void read_stream() {
    ByteReader reader(file_, where_);
    const std::string_view unknown = "a pickle that torch.save did not write; nothing was executed";
    TorchObjects nothing;
    if (!begins_stream(file_)) {
      if (!file_.empty() && file_[0] == kPickleBegin) pickle_.emplace(reader, objects_);  // may name a better reason
      fail(ErrorKind::unsupported, std::string(unknown), 0);
    }
    (void)Pickle(reader, nothing);
    const Pickle version(reader, nothing);
    if (version.root().kind != Kind::integer || version.root().number != kStreamVersion)
      fail(ErrorKind::unsupported_version, "version of the PyTorch stream, expected " + std::to_string(kStreamVersion),
           reader.offset());
    check_system(Pickle(reader, nothing));
    pickle_.emplace(reader, objects_);
    const Pickle keys(reader, nothing);
    read_storages(reader, keys);
  }
  [[nodiscard]] static bool begins_stream(Bytes file) noexcept {
    // After PROTO, its version, LONG1, 10; protocols 4 and 5 put FRAME and its length (8 bytes) after the version.
    constexpr std::size_t kMagicAt = 4, kFrameBytes = 9;
    const auto is_magic = [&](std::size_t at) {
      return file.size() > at + kStreamMagic.size() && as_text(file.subspan(at, kStreamMagic.size())) == kStreamMagic;
    };
    return is_magic(kMagicAt) || is_magic(kMagicAt + kFrameBytes);
  }
  void check_system(const Pickle& system) const {
    const PickleValue& facts = system.root();
    const std::span<const PickleIndex> items = system.items(facts);
    for (std::size_t i = 0; facts.kind == Kind::dict && i + 1 < items.size(); i += 2) {
      const PickleValue &key = system.at(items[i]), &value = system.at(items[i + 1]);
      if (key.text() == "little_endian" && value.kind == Kind::boolean && value.number == 0)
        fail(ErrorKind::unsupported, "not little-endian");
    }
  }
  void read_storages(ByteReader& reader, const Pickle& keys) {
    std::map<std::string_view, const TorchStorage*> announced;
    for (const TorchStorage& storage : objects_.storages) announced.emplace(storage.key, &storage);
    if (keys.root().kind != Kind::list)
      fail(ErrorKind::invalid_value, "the keys of the storages are no list", reader.offset());
    for (const PickleIndex index : keys.items(keys.root())) {
      const std::string_view key = keys.at(index).text();
      const auto found = announced.find(key);
      if (found == announced.end() || ranges_.contains(key))
        fail(ErrorKind::invalid_value, "storage '" + std::string(key) + "' is not announced, or comes twice",
             reader.offset());
      const std::uint64_t count = reader.read_u64("length of a storage");
      const std::uint64_t size =
          checked_mul(count, found->second->element_bytes(), std::string(where_) + ": bytes of a storage");
      const std::uint64_t begin = reader.offset();
      reader.skip(size, "storage");
      ranges_.emplace(key, Range{begin, size});
    }
    if (reader.remaining() != 0) fail(ErrorKind::invalid_value, "bytes after the last storage", reader.offset());
  }

  // --- tensors ---
  [[nodiscard]] WeightEntry entry_of(const std::string& name, const TorchTensor& tensor) const {
    const std::string named = "tensor '" + name + "'";
    if (!tensor.type->type) {
      fail(ErrorKind::unsupported,
           named + " has type torch." + std::string(tensor.type->name) + ", which has no counterpart here");
    }
    const TorchStorage& storage = objects_.storages[tensor.storage];
    const std::uint64_t element_bytes = tensor.type->element_bytes;
    const std::uint64_t announced = checked_mul(storage.elements, storage.element_bytes(), "bytes of a storage");
    WeightEntry entry{name, *tensor.type->type, tensor.shape};
    const auto found = ranges_.find(storage.key);
    if (found == ranges_.end() && announced > 0)
      fail(ErrorKind::invalid_value, named + ": its storage '" + std::string(storage.key) + "' is not in the file");
    const Range range = found == ranges_.end() ? Range{} : found->second;
    if (range.size != announced) {
      fail(ErrorKind::mismatch,
           named + ": its storage '" + std::string(storage.key) + "' has " + std::to_string(range.size) +
               " bytes, expected " + std::to_string(announced),
           range.begin);
    }
    // Sizes were checked against the storage when the tensor was made.
    const std::uint64_t elements = checked_product(tensor.shape, named);
    entry.begin = entry.end = range.begin;
    if (elements == 0) return entry;
    entry.begin = range.begin + tensor.first * element_bytes;
    std::uint64_t last = 0, dense_stride = 1;
    bool dense = true;
    for (std::size_t i = tensor.shape.size(); i-- > 0;) {
      last += (tensor.shape[i] - 1) * tensor.strides[i];
      if (tensor.shape[i] == 1) continue;
      dense = dense && tensor.strides[i] == dense_stride;
      dense_stride *= tensor.shape[i];
    }
    if (!dense) entry.strides = tensor.strides;
    entry.end = entry.begin + (last + 1) * element_bytes;
    return entry;
  }

  Bytes file_;
  std::string_view where_;
  TorchObjects objects_;
  std::optional<Pickle> pickle_;
  Ranges ranges_;
};

}  // namespace

bool looks_like_torch(Bytes first) noexcept {
  if (first.size() < kStreamMagic.size() + 4) return false;
  if (load_le<std::uint32_t>(first.data()) == kZipEntry) {
    if (first.size() < kZipNameAt) return false;
    const std::uint64_t name_bytes = load_le<std::uint16_t>(first.data() + kZipNameBytesAt);
    const std::string_view name = as_text(first.subspan(kZipNameAt)).substr(0, name_bytes);
    return name.ends_with("data.pkl") || name.ends_with("version") || name.ends_with("byteorder") ||
           name.find("/data/") != std::string_view::npos;
  }
  // No operation of a pickle is 0; the third byte of a short safetensors header's length is.
  const auto protocol = std::to_integer<int>(first[1]);
  return first[0] == kPickleBegin && protocol >= 2 && protocol <= 5 && first[2] != std::byte{0};
}

TorchState read_torch_file(Bytes file, std::string_view where) { return TorchFileReader(file, where).run(); }

}  // namespace ingot::convert
