// What a model must satisfy to be in a file: names, references, transforms, restore recipe, limits. Implements
// spec/limits.md and spec/restore.md section 2; used on what is read and on what is to be written.
#include <algorithm>
#include <set>
#include <unordered_map>

#include "format/base/checked_math.h"
#include "format/base/relative_path.h"
#include "format/base/utf8.h"
#include "format/container/index.h"
#include "format/container/limits.h"

namespace ingot::container {
namespace {

[[noreturn]] void invalid(std::string_view where, const std::string& what) {
  throw Error(ErrorKind::invalid_value, std::string(where) + ": " + what);
}

void check_limit(std::uint64_t count, std::uint64_t limit, std::string_view where, std::string_view what) {
  if (count <= limit) return;
  throw Error(ErrorKind::limit_exceeded, std::string(where) + ": " + std::string(what) + ": expected at most " +
                                             std::to_string(limit) + ", got " + std::to_string(count));
}

void check_name(std::string_view name, std::uint64_t limit, std::string_view where, std::string_view what) {
  if (name.empty()) invalid(where, std::string(what) + ": expected a name, got an empty string");
  check_limit(name.size(), limit, where, std::string(what) + ": bytes of the name");
  if (!is_utf8(name)) invalid(where, std::string(what) + " \"" + std::string(name) + "\": the name is not UTF-8");
}

using AttachmentSizes = std::unordered_map<std::string_view, std::uint64_t>;

AttachmentSizes check_attachments(const tensor::Model& model, const std::vector<std::uint64_t>& sizes,
                                  std::string_view where) {
  check_limit(sizes.size(), kMaxAttachments, where, "attachments");
  AttachmentSizes by_name;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::string& name = model.attachments[i].name;
    check_name(name, kMaxPathBytes, where, "attachment");
    check_relative_path(name, where);
    if (!by_name.emplace(name, sizes[i]).second) invalid(where, "attachment \"" + name + "\" appears twice");
  }
  return by_name;
}

void check_tensors(const tensor::Model& model, std::string_view where) {
  check_limit(model.tensors.size(), kMaxTensors, where, "tensors");
  TensorNames names;
  names.reserve(model.tensors.size());
  for (const tensor::Tensor& tensor : model.tensors) {
    check_name(tensor.name, kMaxNameBytes, where, "tensor");
    if (!names.insert(tensor.name).second) invalid(where, "tensor \"" + tensor.name + "\" appears twice");
  }
}

void check_range(const AttachmentSizes& attachments, const std::string& name, std::uint64_t begin, std::uint64_t size,
                 std::string_view where) {
  const auto found = attachments.find(name);
  if (found == attachments.end()) invalid(where, "no attachment \"" + name + "\"");
  if (begin > found->second || size > found->second - begin) {
    invalid(where, "bytes " + std::to_string(begin) + " + " + std::to_string(size) + " lie outside attachment \"" +
                       name + "\" of " + std::to_string(found->second));
  }
}

void check_source_file(const tensor::SourceFile& file, const AttachmentSizes& attachments, std::string_view where) {
  check_limit(file.segments.size(), kMaxSegments, where, "segments");
  check_limit(file.patches.size(), kMaxSegments, where, "patches");
  std::uint64_t total = 0;
  for (const tensor::Segment& segment : file.segments) {
    total = checked_add(total, segment.size, "size of the segments");
    if (segment.kind == tensor::Segment::Kind::literal) {
      check_range(attachments, segment.attachment, segment.begin, segment.size, where);
    } else if (segment.kind == tensor::Segment::Kind::tensor) {
      check_name(segment.part, kMaxNameBytes, where, "part");
    }
  }
  if (total != file.size)
    invalid(where, "expected segments of " + std::to_string(file.size) + " bytes, got " + std::to_string(total));
  std::uint64_t patched_end = 0;
  for (const tensor::SourceFile::Patch& patch : file.patches) {
    check_range(attachments, patch.attachment, patch.begin, patch.size, where);
    if (patch.size == 0 || patch.offset < patched_end || patch.offset > file.size ||
        patch.size > file.size - patch.offset) {
      invalid(where,
              "patch at " + std::to_string(patch.offset) + ": expected ascending, separate ranges inside the file");
    }
    patched_end = patch.offset + patch.size;
  }
}

void check_source(const tensor::Source& source, const AttachmentSizes& attachments, std::string_view where) {
  check_name(source.layout, kMaxNameBytes, where, "source layout");
  check_limit(source.files.size(), kMaxSourceFiles, where, "source files");
  std::set<std::string_view> paths;
  for (const tensor::SourceFile& file : source.files) {
    const std::string place = std::string(where) + ": source file \"" + file.path + "\"";
    check_relative_path(file.path, where);
    if (!paths.insert(file.path).second) invalid(place, "appears twice");
    check_limit(file.size, kMaxFileBytes, place, "size");
    check_source_file(file, attachments, place);
  }
  // "a" and "a/b" cannot both be files.
  for (const std::string_view path : paths) {
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
      if (paths.contains(path.substr(0, slash)))
        invalid(where, "source file \"" + std::string(path) + "\" lies below another file");
    }
  }
}

void check_order(const tensor::Transform& transform, const tensor::Shape& shape) {
  const bool of_rows = transform.kind == tensor::TransformKind::row_order;
  const bool fits = of_rows ? shape.size() == 1 || shape.size() == 2 : shape.size() == 2;
  const std::uint64_t extent = !fits ? 0 : of_rows ? shape[0] : shape[1];
  if (fits && transform.order != nullptr && transform.order->size() == extent &&
      tensor::is_permutation(*transform.order))
    return;
  invalid("transforms", std::string(tensor::name(transform.kind)) + ": expected " +
                            (of_rows ? "1 or 2 dimensions and a permutation of the rows"
                                     : "2 dimensions and a permutation of the columns"));
}

}  // namespace

void check_relative_path(std::string_view path, std::string_view where) {
  check_limit(path.size(), kMaxPathBytes, where, "bytes of a path");
  const std::string_view fault = is_utf8(path) ? relative_path_fault(path) : "is not UTF-8";
  if (fault.empty()) return;
  throw Error(ErrorKind::invalid_value,
              std::string(where) + ": path \"" + std::string(path) + "\": " + std::string(fault));
}

void check_metadata(const std::map<std::string, std::string>& metadata, std::string_view where) {
  check_limit(metadata.size(), kMaxMetadata, where, "metadata entries");
  for (const auto& [key, value] : metadata) {
    check_name(key, kMaxNameBytes, where, "metadata key");
    check_limit(value.size(), kMaxStringBytes, where, "metadata \"" + key + "\": bytes");
    if (!is_utf8(value)) invalid(where, "metadata \"" + key + "\": the value is not UTF-8");
  }
}

void check_tensor(const tensor::Tensor& tensor) {
  check_limit(tensor.shape.size(), kMaxRank, "shape", "dimensions");
  for (const std::uint64_t extent : tensor.shape) check_limit(extent, kMaxInteger, "shape", "extent");
  check_limit(checked_product(tensor.shape, "elements"), kMaxInteger, "shape", "elements");
  check_limit(tensor.transforms.size(), kMaxTransforms, "transforms", "count");
  tensor::Shape shape = tensor.shape;
  const bool has_blocks = !tensor.scheme.scales.empty() || !tensor.scheme.offset.levels.empty();
  for (const tensor::Transform& transform : tensor.transforms) {
    switch (transform.kind) {
      case tensor::TransformKind::rope_interleave:
        if (shape.empty() || shape.size() > 2 || transform.heads == 0 || transform.heads > kMaxInteger / 2 ||
            shape[0] % (2 * transform.heads) != 0) {
          invalid("transforms", "rope_interleave: expected 1 or 2 dimensions with rows divisible by 2 * heads (" +
                                    std::to_string(transform.heads) + ")");
        }
        break;
      case tensor::TransformKind::transpose:
        if ((shape.size() != 2 && shape.size() != 3) || has_blocks || tensor.scheme.order != tensor::Order::identity ||
            tensor.scheme.flat != 0) {
          invalid("transforms", "transpose: expected 2 or 3 dimensions and a scheme without blocks, order or flat");
        }
        std::swap(shape[shape.size() - 2], shape[shape.size() - 1]);
        break;
      case tensor::TransformKind::add_one:
        if (!tensor.scheme.is_plain() || !tensor::info(tensor.scheme.codes.type).is_float)
          invalid("transforms", "add_one: expected a plain float type");
        break;
      case tensor::TransformKind::row_order:
      case tensor::TransformKind::column_order: check_order(transform, shape); break;
    }
  }
}

void check_model(const tensor::Model& model, const std::vector<std::uint64_t>& attachment_bytes,
                 std::string_view where) {
  const AttachmentSizes attachments = check_attachments(model, attachment_bytes, where);
  check_tensors(model, where);
  check_metadata(model.metadata, where);
  check_limit(model.layout.size(), kMaxNameBytes, where, "layout: bytes");
  check_limit(model.aliases.size(), kMaxAliases, where, "aliases");
  for (const auto& [alias, target] : model.aliases) check_name(alias, kMaxNameBytes, where, "alias");
  if (model.source) check_source(*model.source, attachments, where);
}

TensorNames tensor_names(const tensor::Model& model) {
  TensorNames names;
  names.reserve(model.tensors.size());
  for (const tensor::Tensor& tensor : model.tensors) names.insert(tensor.name);
  return names;
}

void check_references(const tensor::Model& model, const TensorNames& tensors, std::string_view where) {
  for (const auto& [alias, target] : model.aliases) {
    if (tensors.contains(alias)) invalid(where, "alias \"" + alias + "\" is also a tensor");
    if (!tensors.contains(target)) invalid(where, "alias \"" + alias + "\": no tensor \"" + target + "\"");
  }
  if (!model.source) return;
  for (const tensor::SourceFile& file : model.source->files) {
    for (const tensor::Segment& segment : file.segments) {
      if (segment.kind == tensor::Segment::Kind::tensor && !tensors.contains(segment.tensor))
        invalid(where, "source file \"" + file.path + "\": no tensor \"" + segment.tensor + "\"");
    }
  }
}

}  // namespace ingot::container
