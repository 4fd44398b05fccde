// `restore`: the files that a model was read from, byte for byte. Implements spec/restore.md section 2. Every block of
// a file is filled from its segments and patches in parallel; the hash decides whether the file gets its name.
#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>

#include "converters/registry.h"
#include "converters/requantize/rounded_values.h"
#include "converters/with_views.h"
#include "format/base/checked_math.h"
#include "format/base/file_errors.h"
#include "format/base/output_file.h"
#include "format/base/parallel.h"
#include "format/base/relative_path.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;
using tensor::Segment;
using tensor::SourceFile;

constexpr std::uint64_t kBlockBytes = kTreeBlockBytes;

/// Tensors with all planes in memory, for layouts that pack from views: the last few, as blocks of a file are filled in
/// order. Thread-safe.
class ViewedTensors {
 public:
  std::shared_ptr<const tensor::Tensor> get(const tensor::Tensor& tensor) {
    const std::scoped_lock lock(mutex_);
    for (const Entry& entry : entries_)
      if (entry.first == &tensor) return entry.second;
    if (entries_.size() == kKept) entries_.erase(entries_.begin());
    entries_.emplace_back(&tensor, std::make_shared<const tensor::Tensor>(with_views(tensor)));
    return entries_.back().second;
  }

 private:
  using Entry = std::pair<const tensor::Tensor*, std::shared_ptr<const tensor::Tensor>>;
  static constexpr std::size_t kKept = 2;
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// What segments and patches name, by name. Borrows the model.
struct NamedParts {
  explicit NamedParts(const tensor::Model& model) {
    for (const tensor::Attachment& attachment : model.attachments) attachments.emplace(attachment.name, &attachment);
    for (const tensor::Tensor& tensor : model.tensors) tensors.emplace(tensor.name, &tensor);
  }
  std::unordered_map<std::string_view, const tensor::Attachment*> attachments;
  std::unordered_map<std::string_view, const tensor::Tensor*> tensors;
};

/// One file, checked: segments with their offsets, attachments and tensors resolved.
class FilePlan {
 public:
  FilePlan(const NamedParts& parts, const std::string& model_path, const Layout& layout, const SourceFile& file)
      : layout_(layout), where_(model_path + ": source file " + file.path) {
    std::uint64_t offset = 0;
    for (const Segment& segment : file.segments) {
      Piece piece{offset, &segment, {}, nullptr, nullptr};
      if (segment.kind == Segment::Kind::literal)
        piece.bytes = attachment_bytes(parts, segment.attachment, segment.begin, segment.size);
      if (segment.kind == Segment::Kind::tensor) {
        piece.tensor = packable_tensor(parts, segment);
        if (is_rounded_part(segment.part)) piece.rounded = rounded_values(parts, segment, *piece.tensor);
      }
      pieces_.push_back(piece);
      offset = checked_add(offset, segment.size, "source segments");
    }
    if (offset != file.size) {
      throw Error(ErrorKind::invalid_value, where_ + ": segments give " + std::to_string(offset) +
                                                " bytes, the file has " + std::to_string(file.size));
    }
    std::uint64_t patched_to = 0;
    for (const SourceFile::Patch& patch : file.patches) {
      const std::uint64_t end = checked_add(patch.offset, patch.size, "patch");
      if (patch.offset < patched_to || end > file.size) {
        throw Error(ErrorKind::invalid_value,
                    where_ + ": patch at " + std::to_string(patch.offset) + " overlaps or leaves the file");
      }
      patched_to = end;
      patches_.push_back({patch.offset, attachment_bytes(parts, patch.attachment, patch.begin, patch.size)});
    }
  }

  /// Bytes [offset, offset + out.size()) of the original file. Thread-safe.
  void fill(std::uint64_t offset, std::span<std::byte> out) const {
    const std::uint64_t end = offset + out.size();
    auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                  [](std::uint64_t o, const Piece& p) { return o < p.offset; });
    if (piece != pieces_.begin()) --piece;
    for (; piece != pieces_.end() && piece->offset < end; ++piece) {
      const std::uint64_t begin_in_file = std::max(offset, piece->offset);
      const std::uint64_t end_in_file = std::min(end, piece->offset + piece->segment->size);
      if (begin_in_file >= end_in_file) continue;
      fill_piece(*piece, begin_in_file - piece->offset,
                 out.subspan(begin_in_file - offset, end_in_file - begin_in_file));
    }
    auto patch = std::upper_bound(patches_.begin(), patches_.end(), offset,
                                  [](std::uint64_t o, const Patch& p) { return o < p.offset; });
    if (patch != patches_.begin()) --patch;
    for (; patch != patches_.end() && patch->offset < end; ++patch) {
      const std::uint64_t begin_in_file = std::max(offset, patch->offset);
      const std::uint64_t end_in_file = std::min(end, patch->offset + patch->bytes.size());
      if (begin_in_file >= end_in_file) continue;
      std::memcpy(out.data() + (begin_in_file - offset), patch->bytes.data() + (begin_in_file - patch->offset),
                  end_in_file - begin_in_file);
    }
  }

  /// Hint: bytes [offset, end) of the file are restored. The units of a tensor are taken to lie in proportion to its
  /// bytes, which is right or nearly so, and costs a second look at a page where it is not.
  void done_with(std::uint64_t offset, std::uint64_t end) const {
    auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                  [](std::uint64_t o, const Piece& p) { return o < p.offset; });
    if (piece != pieces_.begin()) --piece;
    for (; piece != pieces_.end() && piece->offset < end; ++piece) {
      if (piece->segment->kind != Segment::Kind::tensor || piece->segment->size == 0) continue;
      const auto size = static_cast<double>(piece->segment->size);
      const std::uint64_t units = piece->tensor->geometry().units;
      const auto unit_at = [&](std::uint64_t at) {
        const std::uint64_t in_piece = std::clamp(at, piece->offset, piece->offset + piece->segment->size);
        return std::min(units, static_cast<std::uint64_t>(static_cast<double>(units) *
                                                          (static_cast<double>(in_piece - piece->offset) / size)));
      };
      if (unit_at(offset) < unit_at(end)) piece->tensor->planes->done_with(unit_at(offset), unit_at(end));
    }
  }

 private:
  struct Piece {
    std::uint64_t offset;  // in the file
    const Segment* segment;
    Bytes bytes;                                   // literal
    const tensor::Tensor* tensor;                  // tensor
    std::shared_ptr<const RoundedValues> rounded;  // tensor, where its values are packed, not its planes
  };
  struct Patch {
    std::uint64_t offset;
    Bytes bytes;
  };

  [[nodiscard]] Bytes attachment_bytes(const NamedParts& parts, const std::string& name, std::uint64_t begin,
                                       std::uint64_t size) const {
    const auto found = parts.attachments.find(name);
    if (found == parts.attachments.end())
      throw Error(ErrorKind::invalid_value, where_ + ": attachment '" + name + "' does not exist");
    const Bytes bytes = found->second->bytes;
    if (checked_add(begin, size, "attachment range") > bytes.size()) {
      throw Error(ErrorKind::invalid_value, where_ + ": bytes " + std::to_string(begin) + "+" + std::to_string(size) +
                                                " of attachment '" + name + "' (" + std::to_string(bytes.size()) +
                                                " bytes) do not exist");
    }
    return bytes.subspan(begin, size);
  }

  [[nodiscard]] const tensor::Tensor* packable_tensor(const NamedParts& parts, const Segment& segment) const {
    const auto found = parts.tensors.find(segment.tensor);
    if (found == parts.tensors.end())
      throw Error(ErrorKind::invalid_value, where_ + ": tensor '" + segment.tensor + "' does not exist");
    if (layout_.pack_segment == nullptr) {
      throw Error(ErrorKind::unsupported, where_ + ": layout " + std::string(layout_.name) + " packs no tensors");
    }
    return found->second;
  }

  [[nodiscard]] std::shared_ptr<const RoundedValues> rounded_values(const NamedParts& parts, const Segment& segment,
                                                                    const tensor::Tensor& tensor) const {
    const RoundedPart part = parse_rounded_part(segment.part, where_ + ": tensor '" + segment.tensor + "'");
    Bytes signs;
    if (part.signs) {
      const auto found = parts.attachments.find(part.attachment());
      if (found == parts.attachments.end())
        throw Error(ErrorKind::invalid_value, where_ + ": attachment '" + part.attachment() + "' does not exist");
      signs = found->second->bytes;
    }
    auto values = std::make_shared<const RoundedValues>(tensor, part.types, signs);
    if (values->bytes() != segment.size) {
      throw Error(ErrorKind::invalid_value, where_ + ": a segment of " + std::to_string(segment.size) +
                                                " bytes, the values of tensor '" + segment.tensor + "' take " +
                                                std::to_string(values->bytes()));
    }
    return values;
  }

  void fill_piece(const Piece& piece, std::uint64_t begin, std::span<std::byte> out) const {
    switch (piece.segment->kind) {
      case Segment::Kind::literal: std::memcpy(out.data(), piece.bytes.data() + begin, out.size()); break;
      case Segment::Kind::zeros: std::memset(out.data(), 0, out.size()); break;
      case Segment::Kind::tensor:
        if (piece.rounded != nullptr)
          piece.rounded->pack(begin, out);
        else
          pack(*piece.tensor, piece.segment->part, begin, out);
        break;
    }
  }

  void pack(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin,
            std::span<std::byte> out) const {
    if (!layout_.packs_from_views || part == "raw") return layout_.pack_segment(tensor, part, begin, out);
    layout_.pack_segment(*viewed_->get(tensor), part, begin, out);
  }

  const Layout& layout_;
  std::string where_;
  std::vector<Piece> pieces_;
  std::vector<Patch> patches_;
  std::unique_ptr<ViewedTensors> viewed_ = std::make_unique<ViewedTensors>();
};

/// Creates the directories of `target` and refuses those that a symbolic link leads out of `directory`.
void make_parent_inside(const fs::path& directory, const fs::path& target) {
  fs::create_directories(target.parent_path());
  const fs::path root = fs::canonical(directory);
  const fs::path parent = fs::canonical(target.parent_path());
  const auto [root_end, ignored] = std::mismatch(root.begin(), root.end(), parent.begin(), parent.end());
  if (root_end != root.end()) {
    throw Error(ErrorKind::invalid_value, target.string() + ": a symbolic link leads out of " + directory.string());
  }
}

void restore_file(const SourceFile& file, const FilePlan& plan, const fs::path& target,
                  const std::function<void(std::uint64_t)>& progress) {
  OutputFile output(target);
  output.reserve(file.size);
  std::vector<std::byte> block_hashes(ceil_div(file.size, kBlockBytes) * sizeof(Hash128));
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(file.size, kBlockBytes), 1,
               [&](std::uint64_t block_begin, std::uint64_t block_end, int worker) {
                 std::vector<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
                 for (std::uint64_t block = block_begin; block < block_end; ++block) {
                   const std::uint64_t offset = block * kBlockBytes;
                   buffer.resize(std::min(kBlockBytes, file.size - offset));
                   plan.fill(offset, buffer);
                   const Hash128 hash = hash128(buffer);
                   std::memcpy(block_hashes.data() + block * sizeof(Hash128), hash.bytes.data(), sizeof(Hash128));
                   output.write_at(offset, buffer);
                   plan.done_with(offset, offset + buffer.size());
                   progress(buffer.size());
                 }
               });
  const Hash128 hash = hash128(block_hashes);
  if (hash != file.hash) {
    throw Error(ErrorKind::bad_checksum, target.string() + ": restored bytes do not match the original (recorded " +
                                             file.hash.hex() + ", restored " + hash.hex() +
                                             "); the file was not written");
  }
  output.commit();
}

std::vector<RestoredFile> restore_files(const tensor::Model& model, const fs::path& directory, bool overwrite,
                                        const Progress& progress) {
  const std::string where = model.path.string();
  if (!model.source) {
    throw Error(
        ErrorKind::unsupported,
        where +
            ": records no source files (it was not made from a foreign checkpoint, its floats were recovered as codes "
            "that do not give them back, or it is a member of a set, whose manifest records them)");
  }
  const Layout* layout = find_layout(model.source->layout);
  if (layout == nullptr) {
    throw Error(ErrorKind::unsupported,
                where + ": its source has layout '" + model.source->layout + "', which this build does not know");
  }
  const NamedParts parts(model);
  std::set<std::string> names;
  std::vector<FilePlan> plans;
  std::uint64_t total_bytes = 0;
  for (const SourceFile& file : model.source->files) {
    if (const std::string_view fault = relative_path_fault(file.path); !fault.empty()) {
      throw Error(ErrorKind::invalid_value,
                  where + ": source path '" + file.path + "' would leave the directory: it " + std::string(fault));
    }
    if (!names.insert(file.path).second)
      throw Error(ErrorKind::invalid_value, where + ": source path '" + file.path + "' occurs twice");
    std::error_code status;
    if (!overwrite && fs::exists(directory / file.path, status)) {
      throw Error(ErrorKind::io, (directory / file.path).string() + ": exists already (--force replaces it)");
    }
    plans.emplace_back(parts, where, *layout, file);
    total_bytes = checked_add(total_bytes, file.size, "source files");
  }
  fs::create_directories(directory);
  std::mutex progress_mutex;
  std::uint64_t done_bytes = 0;
  const auto advance = [&](std::uint64_t bytes) {
    if (!progress) return;
    const std::scoped_lock lock(progress_mutex);
    done_bytes += bytes;
    progress("restoring", done_bytes, total_bytes);
  };
  std::vector<RestoredFile> restored;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const SourceFile& file = model.source->files[i];
    const fs::path target = directory / file.path;
    make_parent_inside(directory, target);
    restore_file(file, plans[i], target, advance);
    restored.push_back({file.path, file.size, file.hash});
  }
  return restored;
}

}  // namespace

std::vector<RestoredFile> restore(const tensor::Model& model, const fs::path& directory, bool overwrite,
                                  const Progress& progress) {
  return with_file_errors([&] { return restore_files(model, directory, overwrite, progress); });
}

}  // namespace ingot::convert
