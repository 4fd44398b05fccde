// Writing a set: tensors cut into members by size, each member a file of its own, the manifest last. Implements
// spec/sets.md section 6.
#include "format/base/checked_math.h"
#include "format/base/output_file.h"
#include "format/container/chunk.h"
#include "format/container/file.h"
#include "format/container/limits.h"
#include "format/container/set.h"
#include "format/container/write_fault.h"
#include "format/container/writer.h"

namespace ingot::container {
namespace {

namespace fs = std::filesystem;

/// The most bytes that a file can have. Compression only makes it smaller.
class FileBound {
 public:
  explicit FileBound(std::uint64_t index_bytes) : index_bytes_(index_bytes) {}

  void add_blob(std::uint64_t size) {
    if (size == 0) return;
    end_ = checked_add(align_up(end_, blob_alignment(size)), size, "file");
    chunks_ += chunk_count(size);
  }
  void add(const tensor::Tensor& tensor) {
    for (const tensor::PlaneSpec& spec : tensor.plane_specs()) add_blob(spec.total_bytes);
    index_bytes_ += max_index_bytes(tensor);
  }
  [[nodiscard]] std::uint64_t bytes() const {
    const std::uint64_t table_bytes = chunks_ * kChunkRowBytes;
    const std::uint64_t table_end = align_up(end_, blob_alignment(table_bytes)) + table_bytes;
    return align_up(table_end, kAlignment) + index_bytes_;
  }

 private:
  std::uint64_t end_ = kHeaderBytes;
  std::uint64_t chunks_ = 0;
  std::uint64_t index_bytes_;
};

bool fits_one_file(const tensor::Model& model, std::uint64_t shard_bytes, std::string_view where) {
  FileBound bound(largest_index_text(model, where).size());
  for (const tensor::Attachment& attachment : model.attachments) bound.add_blob(attachment.bytes.size());
  if (model.tokenizer) bound.add_blob(canonical_json(tensor::to_json(*model.tokenizer)).size());
  for (const tensor::Tensor& tensor : model.tensors) bound.add(tensor);
  return bound.bytes() <= shard_bytes;
}

/// What a member holds beside its tensors.
tensor::Model empty_member(const tensor::Model& model) {
  tensor::Model member;
  member.layout = model.layout;
  return member;
}

/// The first tensor of each member, and the number of tensors at the end.
std::vector<std::size_t> cut(const tensor::Model& model, std::uint64_t shard_bytes, std::string_view where) {
  const FileBound empty(largest_index_text(empty_member(model), where).size());
  std::vector<std::size_t> starts = {0};
  FileBound bound = empty;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    FileBound next = bound;
    next.add(model.tensors[i]);
    if (i != starts.back() && next.bytes() > shard_bytes) {
      starts.push_back(i);
      next = empty;
      next.add(model.tensors[i]);
    }
    bound = next;
  }
  if (starts.size() > kMaxMembers) {
    throw Error(ErrorKind::limit_exceeded, std::string(where) + ": expected at most " + std::to_string(kMaxMembers) +
                                               " members of a set, got " + std::to_string(starts.size()) +
                                               "; choose a larger shard size");
  }
  starts.push_back(model.tensors.size());
  return starts;
}

/// The members without their roots; names that no manifest may hold are refused before anything is written.
std::vector<SetMember> planned_members(const fs::path& path, const std::vector<std::size_t>& starts) {
  std::vector<SetMember> members;
  const std::size_t count = starts.size() - 1;
  for (std::size_t i = 0; i < count; ++i)
    members.push_back({member_file_name(path.filename().string(), i + 1, count), {}, starts[i + 1] - starts[i]});
  (void)set_from_json(parse_json(canonical_json(set_to_json(members)), path.string()), path.string());
  return members;
}

/// Counts the bytes of all files as those of one.
class SharedProgress {
 public:
  SharedProgress(const Progress& progress, const tensor::Model& model) : progress_(progress) {
    for (const tensor::Attachment& attachment : model.attachments) total_bytes_ += attachment.bytes.size();
    for (const tensor::Tensor& tensor : model.tensors) total_bytes_ += tensor.stored_bytes();
    if (model.tokenizer) total_bytes_ += canonical_json(tensor::to_json(*model.tokenizer)).size();
  }
  /// For the next file.
  [[nodiscard]] Progress next() {
    before_bytes_ = done_bytes_;
    if (!progress_) return {};
    return [this](std::string_view phase, std::uint64_t done, std::uint64_t) {
      done_bytes_ = before_bytes_ + done;
      progress_(phase, done_bytes_, total_bytes_);
    };
  }

 private:
  const Progress& progress_;
  std::uint64_t total_bytes_ = 0, before_bytes_ = 0, done_bytes_ = 0;
};

/// The files that have got their final names; removes them again unless the set is complete.
class CommittedMembers {
 public:
  /// With Leftover::kept it removes nothing.
  explicit CommittedMembers(Leftover leftover) : leftover_(leftover) {}
  CommittedMembers(const CommittedMembers&) = delete;
  CommittedMembers& operator=(const CommittedMembers&) = delete;
  ~CommittedMembers() {
    std::error_code ignored;
    if (leftover_ == Leftover::kept) return;
    for (const fs::path& path : paths_) fs::remove(path, ignored);
  }
  void add(fs::path path) { paths_.push_back(std::move(path)); }
  void keep() noexcept { paths_.clear(); }

 private:
  std::vector<fs::path> paths_;
  Leftover leftover_;
};

/// A manifest must not stand beside members that it does not fit: it goes before one of them is replaced.
void remove_stale_manifest(const fs::path& path, const std::vector<SetMember>& members, bool sync) {
  std::error_code status;
  bool replaces = false;
  for (const SetMember& member : members)
    replaces |= fs::exists(fs::symlink_status(path.parent_path() / member.path, status));
  if (!replaces || !fs::exists(fs::symlink_status(path, status))) return;
  guarded_step();
  if (!fs::remove(path, status) && status)
    throw Error(ErrorKind::io,
                path.string() + ": cannot remove the manifest of the set to be replaced: " + status.message());
  if (sync) sync_directory_of(path);
}

bool is_manifest_of(const fs::path& path, const std::vector<SetMember>& members) {
  try {
    return open_file(path)->index.members == members;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

WriteResult write_set(const tensor::Model& model, const fs::path& path, const WriteOptions& options) {
  const std::string where = path.string();
  check_writable(model, where);
  if (fits_one_file(model, options.shard_bytes, where))
    return options.takes && !options.takes(0) ? WriteResult{} : write_model(model, path, options, {});
  const std::vector<std::size_t> starts = cut(model, options.shard_bytes, where);
  WriteExtras extras;
  extras.members = planned_members(path, starts);
  remove_stale_manifest(path, extras.members, options.sync);

  SharedProgress progress(options.progress, model);
  WriteOptions file_options = options;
  WriteResult result;
  CommittedMembers committed(leftover(options.journal));
  for (std::size_t i = 0; i < extras.members.size(); ++i) {
    if (options.takes && !options.takes(i)) continue;
    SetMember& member = extras.members[i];
    tensor::Model part = empty_member(model);
    part.tensors.assign(model.tensors.begin() + static_cast<std::ptrdiff_t>(starts[i]),
                        model.tensors.begin() + static_cast<std::ptrdiff_t>(starts[i + 1]));
    file_options.progress = progress.next();
    const WriteResult written = write_model(part, path.parent_path() / member.path, file_options, {});
    committed.add(path.parent_path() / member.path);
    member.root = written.root;
    result.file_bytes += written.file_bytes;
    result.fingerprints.insert(result.fingerprints.end(), written.fingerprints.begin(), written.fingerprints.end());
  }
  if (options.takes) {
    committed.keep();
    return result;
  }
  tensor::Model rest = model;
  rest.tensors.clear();
  file_options.progress = progress.next();
  WriteResult manifest;
  try {
    manifest = write_model(rest, path, file_options, extras);
  } catch (...) {
    if (is_manifest_of(path, extras.members)) committed.keep();  // it failed after the rename
    throw;
  }
  committed.keep();
  result.file_bytes += manifest.file_bytes;
  result.root = manifest.root;
  return result;
}

}  // namespace ingot::container
