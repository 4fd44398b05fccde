#include "converters/conversion/source_skeleton.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "converters/conversion/journal.h"
#include "converters/conversion/source_removal.h"
#include "converters/registry.h"
#include "format/base/error.h"
#include "format/base/file_errors.h"
#include "format/base/mapped_file.h"
#include "format/base/output_file.h"
#include "format/tensor/decode.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;
using tensor::Model;
using tensor::Segment;
using tensor::SourceFile;

constexpr std::uint64_t kSmallBytes = std::uint64_t{1} << 20;  // zero points of the largest matrices in use take less
constexpr std::uint64_t kHoleUnit = 4096;                      // holes are cut at blocks of file systems
constexpr std::uint64_t kHeadBytes = std::uint64_t{64} << 10;  // by which --resume tells files (identity.cpp)

/// In place of planes whose file is gone.
class RemovedPlanes final : public tensor::PlaneSource {
 public:
  RemovedPlanes(std::string tensor, std::string file) : tensor_(std::move(tensor)), file_(std::move(file)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { fail(); }
  void read_units(std::uint64_t, std::uint64_t, std::vector<std::byte*>&) const override { fail(); }
  [[nodiscard]] Bytes whole(std::size_t) const override { fail(); }
  void done_with(std::uint64_t, std::uint64_t) const override {}

 private:
  [[noreturn]] void fail() const {
    throw Error(ErrorKind::io, file_ + ": tensor '" + tensor_ +
                                   "': the file was removed after its conversion (--delete-source-as-read), and what "
                                   "was written of it is damaged now");
  }
  std::string tensor_, file_;
};

/// A directory of links to the files of a source, and to skeletons where those are gone. Removed again with the object:
/// what is mapped stays mapped.
class Overlay {
 public:
  /// `rehearsed`: a file that counts as gone although it is there; may be empty.
  Overlay(const fs::path& model_path, const fs::path& removed, fs::path place, const std::string& rehearsed)
      : place_(std::move(place)), is_directory_(!is_file_of(model_path, removed)), name_(model_path.filename()) {
    with_file_errors([&] {
      fs::remove_all(place_);
      fs::create_directories(place_);
      add_links(fs::canonical(source_root(model_path)), removed.parent_path(), rehearsed, false);
      if (fs::exists(removed)) add_links(fs::canonical(removed), {}, "", true);
    });
  }
  Overlay(const Overlay&) = delete;
  Overlay& operator=(const Overlay&) = delete;
  ~Overlay() {
    std::error_code ignored;
    fs::remove_all(place_, ignored);
  }
  [[nodiscard]] fs::path model_path() const { return is_directory_ ? place_ : place_ / name_; }
  /// Paths from the root of the source.
  [[nodiscard]] const std::set<std::string>& removed() const noexcept { return removed_; }

 private:
  /// The path of a model in files, of which one that was removed may bear its name.
  static bool is_file_of(const fs::path& path, const fs::path& removed) {
    return fs::is_regular_file(path) || fs::is_regular_file(removed / path.filename());
  }
  void add_links(const fs::path& from, const fs::path& excluded, const std::string& rehearsed, bool skeletons) {
    std::error_code status;
    for (fs::recursive_directory_iterator entry(from), end; entry != end; ++entry) {
      const fs::path name = entry->path().lexically_relative(from);
      if (!excluded.empty() && fs::equivalent(entry->path(), excluded, status)) {
        entry.disable_recursion_pending();
      } else if (entry->is_directory() && !entry->is_symlink()) {
        if (is_directory_) {
          fs::create_directory(place_ / name, status);
        } else {
          entry.disable_recursion_pending();
        }
      } else if (name != rehearsed && !fs::exists(fs::symlink_status(place_ / name, status))) {
        fs::create_symlink(entry->path(), place_ / name);
        if (skeletons) removed_.insert(name.generic_string());
      }
    }
  }

  fs::path place_;
  bool is_directory_;
  fs::path name_;
  std::set<std::string> removed_;
};

/// Tensors of removed files get planes that cannot be read.
void mark_removed(Model& model, const std::set<std::string>& removed) {
  std::map<std::string, std::string> file_of;
  for (const SourceFile& file : model.source->files) {
    if (!removed.contains(file.path)) continue;
    for (const Segment& segment : file.segments)
      if (segment.kind == Segment::Kind::tensor) file_of[segment.tensor] = file.path;
  }
  for (tensor::Tensor& tensor : model.tensors)
    if (const auto found = file_of.find(tensor.name); found != file_of.end())
      tensor.planes = std::make_shared<RemovedPlanes>(tensor.name, found->second);
}

/// The hashes of removed files are those that they had.
void set_removed_hashes(Model& model, const std::set<std::string>& removed, const std::map<std::string, Json>& facts) {
  for (SourceFile& file : model.source->files) {
    if (!removed.contains(file.path)) continue;
    const auto fact = facts.find(removal_fact(file.path));
    const std::optional<Hash128> hash =
        fact != facts.end() ? Hash128::from_hex(fact->second.as_string(file.path)) : std::optional<Hash128>();
    if (!hash) throw Error(ErrorKind::io, file.path + ": the journal of its conversion does not know it");
    file.hash = *hash;
  }
}

void copy_range(int descriptor, Bytes bytes, std::uint64_t begin, std::uint64_t end, const fs::path& skeleton) {
  while (begin < end) {
    const ssize_t count = ::pwrite(descriptor, bytes.data() + begin, end - begin, static_cast<off_t>(begin));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      throw Error(ErrorKind::io, skeleton.string() + ": cannot write: " + std::generic_category().message(errno));
    begin += static_cast<std::uint64_t>(count);
  }
}

/// The first values of a tensor; empty where it has none.
std::vector<float> first_values(const tensor::Tensor& tensor) {
  constexpr std::uint64_t kSampleElems = 4096;
  std::vector<float> values;
  if (tensor.scheme.codes.kind == tensor::CodeKind::opaque) return values;
  values.resize(std::min(tensor.elements(), kSampleElems));
  if (!values.empty()) tensor::ValueReader(tensor).read(0, values, 0);
  return values;
}

bool is_same_tensor(const tensor::Tensor& one, const tensor::Tensor& other) {
  if (one.name != other.name || one.shape != other.shape || !(one.scheme == other.scheme) ||
      one.packing != other.packing || one.transforms != other.transforms || one.derived != other.derived)
    return false;
  if (is_removed(one) || is_removed(other)) return true;
  const std::vector<float> a = first_values(one), b = first_values(other);
  return a.size() == b.size() && hash128(std::as_bytes(std::span(a))) == hash128(std::as_bytes(std::span(b)));
}

}  // namespace

fs::path source_root(const fs::path& model_path) {
  std::error_code status;
  if (fs::is_directory(model_path, status)) return model_path;
  return model_path.has_parent_path() ? model_path.parent_path() : fs::path(".");
}

std::vector<FileRange> large_tensors(const SourceFile& file) {
  std::vector<FileRange> ranges;
  std::uint64_t offset = 0;
  for (const Segment& segment : file.segments) {
    const std::uint64_t begin = std::max((offset + kHoleUnit - 1) / kHoleUnit * kHoleUnit, kHeadBytes);
    const std::uint64_t end = (offset + segment.size) / kHoleUnit * kHoleUnit;
    if (segment.kind == Segment::Kind::tensor && segment.size > kSmallBytes) ranges.push_back({begin, end - begin});
    offset += segment.size;
  }
  return ranges;
}

void write_skeleton(const fs::path& file, const fs::path& skeleton, const fs::path& temporary,
                    const std::vector<FileRange>& holes) {
  const MappedFile source(file);
  with_file_errors([&] { fs::create_directories(skeleton.parent_path()); });
  const int descriptor = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0)
    throw Error(ErrorKind::io, temporary.string() + ": cannot create: " + std::generic_category().message(errno));
  try {
    std::uint64_t at = 0;
    for (const FileRange& hole : holes) {
      copy_range(descriptor, source.bytes(), at, hole.begin, skeleton);
      at = hole.begin + hole.size;
    }
    copy_range(descriptor, source.bytes(), at, source.size(), skeleton);
    struct stat status {};
    const bool done =
        ::ftruncate(descriptor, static_cast<off_t>(source.size())) == 0 && ::stat(file.c_str(), &status) == 0 && [&] {
          const timespec times[2] = {status.st_atim, status.st_mtim};
          return ::futimens(descriptor, times) == 0 && ::fsync(descriptor) == 0;
        }();
    if (!done)
      throw Error(ErrorKind::io, temporary.string() + ": cannot write: " + std::generic_category().message(errno));
  } catch (...) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    throw;
  }
  ::close(descriptor);
  with_file_errors([&] { fs::rename(temporary, skeleton); });
  for (fs::path made = skeleton; made.parent_path() != made; made = made.parent_path()) {
    sync_directory_of(made);
    if (made.filename() == Staging::kRemovedDirectory) break;
  }
}

std::string removal_fact(const std::string& path) { return "removed " + path; }

bool is_removed(const tensor::Tensor& tensor) noexcept {
  return dynamic_cast<const RemovedPlanes*>(tensor.planes.get()) != nullptr;
}

Model rehearse(const Model& model, const Staging& staging, const std::string& name, bool trust_config) {
  const fs::path place = staging.removed().parent_path();
  const Overlay overlay(model.path, staging.removed(), place / "source", name);
  Model rehearsed = read_model(overlay.model_path(), model.layout, {.progress = {}, .trust_config = trust_config});
  mark_removed(rehearsed, overlay.removed());
  return rehearsed;
}

Model read_remaining_model(const fs::path& path, const fs::path& output, std::string_view from,
                           const ReadOptions& options) {
  const fs::path place = Staging::place_of(output), removed = place / Staging::kRemovedDirectory;
  std::error_code status;
  if (!fs::exists(removed, status)) return read_model(path, from, options);
  const Overlay overlay(path, removed, place / "source", "");
  if (overlay.removed().empty()) return read_model(path, from, options);
  Model model = read_model(overlay.model_path(), from, options);
  model.path = path;
  mark_removed(model, overlay.removed());
  set_removed_hashes(model, overlay.removed(), read_journal(place / "journal").facts);
  return model;
}

bool describes_the_same(const Model& model, const Model& other) {
  const auto same_attachment = [](const tensor::Attachment& a, const tensor::Attachment& b) {
    return a.name == b.name && a.bytes.size() == b.bytes.size();
  };
  // Patches are attachments of the model that is being written only.
  std::vector<tensor::Attachment> attachments = model.attachments;
  attachments.resize(std::min(attachments.size(), other.attachments.size()));
  return std::equal(attachments.begin(), attachments.end(), other.attachments.begin(), other.attachments.end(),
                    same_attachment) &&
         model.aliases == other.aliases && model.metadata == other.metadata && model.findings == other.findings &&
         std::equal(model.tensors.begin(), model.tensors.end(), other.tensors.begin(), other.tensors.end(),
                    is_same_tensor);
}

}  // namespace ingot::convert
