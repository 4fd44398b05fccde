// Metadata in place, and the rewrite that reclaims dead space. Implements spec/container.md section 3.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>

#include "format/base/checked_math.h"
#include "format/container/container.h"
#include "format/container/file.h"
#include "format/container/limits.h"
#include "format/container/verify.h"
#include "format/container/write_fault.h"
#include "format/container/writer.h"

namespace ingot::container {
namespace {

/// A file that is changed where it is: one editor at a time, every step durable.
class EditedFile {
 public:
  explicit EditedFile(const std::filesystem::path& path) : path_(path) {
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) fail("cannot open for editing", errno);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int lock_error = errno;
      ::close(descriptor_);
      fail("cannot lock (is another process editing it?)", lock_error);
    }
    if (!is_at_path()) {
      ::close(descriptor_);
      throw Error(ErrorKind::io, path_.string() + ": was replaced while it was being opened; try again");
    }
  }
  EditedFile(const EditedFile&) = delete;
  EditedFile& operator=(const EditedFile&) = delete;
  ~EditedFile() { ::close(descriptor_); }

  /// Removes what lies behind `size`, the dead tail of an interrupted edit.
  void cut(std::uint64_t size) {
    guarded_step();
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("cannot read its status", errno);
    if (static_cast<std::uint64_t>(status.st_size) == size) return;
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) fail("cannot cut its dead tail", errno);
  }

  void write_at(std::uint64_t offset, Bytes bytes) {
    guarded_write(offset, bytes, [this](std::uint64_t at, Bytes piece) {
      while (!piece.empty()) {
        const ssize_t count = ::pwrite(descriptor_, piece.data(), piece.size(), static_cast<off_t>(at));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) fail("cannot write at byte " + std::to_string(at), count < 0 ? errno : ENOSPC);
        at += static_cast<std::uint64_t>(count);
        piece = piece.subspan(static_cast<std::size_t>(count));
      }
    });
  }

  void sync() {
    if (::fsync(descriptor_) != 0) fail("cannot sync", errno);
  }

 private:
  /// A compaction that ended between open and lock has left us with a file that no longer has the name.
  [[nodiscard]] bool is_at_path() const noexcept {
    struct stat locked {
    }, named{};
    return ::fstat(descriptor_, &locked) == 0 && ::stat(path_.c_str(), &named) == 0 && locked.st_dev == named.st_dev &&
           locked.st_ino == named.st_ino;
  }

  [[noreturn]] void fail(const std::string& action, int error_number) const {
    throw Error(ErrorKind::io, path_.string() + ": " + action + ": " + std::generic_category().message(error_number));
  }

  std::filesystem::path path_;
  int descriptor_ = -1;
};

void apply(const std::vector<MetadataChange>& changes, std::map<std::string, std::string>& metadata,
           const std::string& where) {
  for (const MetadataChange& change : changes) {
    if (change.value) {
      metadata[change.key] = *change.value;
    } else if (metadata.erase(change.key) == 0) {
      throw Error(ErrorKind::mismatch, where + ": metadata: no key \"" + change.key + "\" to remove");
    }
  }
}

/// The text of the same index with other metadata; members that this version does not know are kept.
std::string edited_index_text(const File& file, const std::map<std::string, std::string>& metadata) {
  Json json = parse_index_json(file.index_bytes(), file.where);
  JsonObject members;
  for (const auto& [key, value] : metadata) members.emplace_back(key, value);
  json.set("metadata", std::move(members));
  return index_text(json, file.where);
}

/// The bytes of the tokenizer attachment, when there is one.
std::optional<Bytes> tokenizer_bytes(const File& file) {
  for (std::size_t i = 0; i < file.index.attachments.size(); ++i) {
    const Blob& blob = file.index.attachments[i];
    if (file.index.model.attachments[i].name == kTokenizerAttachment)
      return file.bytes().subspan(blob.offset, blob.size);
  }
  return std::nullopt;
}

/// The members of a set are found from the directory of its manifest.
void require_same_directory(const std::filesystem::path& manifest, const std::filesystem::path& output) {
  std::error_code status;
  if (std::filesystem::equivalent(manifest.parent_path() / ".", output.parent_path() / ".", status)) return;
  throw Error(
      ErrorKind::invalid_value,
      output.string() + ": " + manifest.string() +
          " is the manifest of a set and stays in the directory of its members (convert makes one file of a set)");
}

}  // namespace

void edit_metadata(const std::filesystem::path& path, const std::vector<MetadataChange>& changes) {
  EditedFile edited(path);
  const std::shared_ptr<const File> file = open_file(path);
  std::map<std::string, std::string> metadata = file->index.model.metadata;
  apply(changes, metadata, file->where);
  if (metadata == file->index.model.metadata) return;
  check_metadata(metadata, file->where);
  const std::string text = edited_index_text(*file, metadata);

  Slot slot = file->header.current;
  const std::uint64_t old_end = slot.file_size;
  slot.generation = checked_add(slot.generation, 1, "generation");
  slot.write_version = kSpecVersion;
  slot.index_offset = align_up(old_end, kAlignment);
  slot.index_size = text.size();
  slot.index_hash = hash128(as_bytes_view(text));
  slot.file_size = slot.index_offset + slot.index_size;
  if (slot.file_size > kMaxFileBytes)
    throw Error(ErrorKind::limit_exceeded, file->where + ": the file would be too large");

  edited.cut(old_end);
  edited.write_at(slot.index_offset, as_bytes_view(text));
  edited.sync();  // the index must be durable before a slot names it
  edited.write_at(kSlotOffsets[static_cast<std::size_t>(1 - file->header.current_slot)], encode_slot(slot));
  edited.sync();
}

WriteResult compact(const std::filesystem::path& path, const WriteOptions& options) {
  return compact(path, path, options);
}

WriteResult compact(const std::filesystem::path& path, const std::filesystem::path& output,
                    const WriteOptions& options) {
  // Damage must not be copied under fresh hashes. A torn slot is what compact repairs.
  for (const Finding& finding : verify_one_file(path, options.progress).findings) {
    if (finding.offset != kSlotOffsets[0] && finding.offset != kSlotOffsets[1])
      throw Error(finding.kind, finding.message, finding.offset);
  }
  // In place: an edit made meanwhile would be lost. Whoever waits for the file finds that it was replaced.
  std::error_code status;
  std::optional<EditedFile> locked;
  if (std::filesystem::equivalent(path, output, status)) locked.emplace(path);
  const std::shared_ptr<File> file = open_file(path);
  if (!file->index.members.empty()) require_same_directory(path, output);
  WriteExtras extras;
  extras.reuse_fingerprints = true;
  extras.members = file->index.members;
  extras.unknown_members = file->index.unknown_members;
  extras.tokenizer = tokenizer_bytes(*file);
  return write_model(take_model(file), output, options, extras);
}

}  // namespace ingot::container
