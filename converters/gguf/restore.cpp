// The way back: tensors as the bytes GGUF keeps them in, and the pass that finds where those bytes differ from the
// file.
#include <algorithm>
#include <cstring>

#include "converters/gguf/planes.h"
#include "converters/gguf/read.h"
#include "converters/patch_collector.h"
#include "format/base/checked_math.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Model;
using tensor::Segment;
using tensor::SourceFile;

constexpr std::uint64_t kPieceBytes = std::uint64_t{32} << 20;

void find_patches(Model& model, SourceFile& file, const MappedFile& mapping, const std::string& attachment) {
  const tensor::TensorIndex index(model);
  PatchCollector patches(file, attachment);
  std::vector<std::byte> packed;
  std::uint64_t offset = 0;
  for (const Segment& segment : file.segments) {
    const BlockType* type = segment.kind == Segment::Kind::tensor ? find_block_type(segment.part) : nullptr;
    const tensor::Tensor* tensor = type != nullptr && !type->one_encoding ? index.find(segment.tensor) : nullptr;
    if (segment.kind == Segment::Kind::zeros || tensor != nullptr) {
      for (std::uint64_t at = 0; at < segment.size; at += kPieceBytes) {
        packed.assign(std::min(kPieceBytes, segment.size - at), std::byte{0});
        if (tensor != nullptr) pack_segment(*tensor, segment.part, at, packed);
        patches.compare(offset + at, mapping.bytes().subspan(offset + at, packed.size()), packed);
      }
    }
    offset += segment.size;
  }
  patches.finish(model);
}

}  // namespace

void pack_segment(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin,
                  std::span<std::byte> out) {
  const BlockType* type = find_block_type(part);
  if (type == nullptr)
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': GGUF has no type '" + part + "'");
  const auto specs = tensor.plane_specs();
  if (type->kind == BlockKind::coded) {
    if (!has_form_of(*type, tensor))
      throw Error(ErrorKind::mismatch, "tensor '" + tensor.name + "' does not hold blocks of type " + part);
    const tensor::Geometry geometry = tensor.geometry();
    const std::uint64_t size =
        geometry.matrices * geometry.rows * (geometry.cols / type->block_elems) * type->block_bytes;
    if (begin > size || out.size() > size - begin)
      throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': segment beyond its end");
    return pack_blocks(tensor, *type, begin, out);
  }
  const std::uint64_t size = specs.at(0).total_bytes;
  if (begin > size || out.size() > size - begin)
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': segment beyond its end");
  if (out.empty()) return;
  if (const auto view = tensor.planes->view(0)) {
    std::memcpy(out.data(), view->data() + begin, out.size());
    return;
  }
  const std::uint64_t unit_bytes = specs[0].unit_bytes;
  const std::uint64_t unit_begin = begin / unit_bytes, unit_end = ceil_div(begin + out.size(), unit_bytes);
  std::vector<std::byte> units((unit_end - unit_begin) * unit_bytes);
  std::vector<std::byte*> wanted(specs.size(), nullptr);
  wanted[0] = units.data();
  tensor.planes->read_units(unit_begin, unit_end, wanted);
  std::memcpy(out.data(), units.data() + (begin - unit_begin * unit_bytes), out.size());
}

void find_patches(Model& model) {
  if (!model.source) return;
  for (std::size_t i = 0; i < model.source->files.size(); ++i) {
    SourceFile& file = model.source->files[i];
    file.patches.clear();
    find_patches(model, file, *file.content, "source/" + std::to_string(i) + "/patches");
  }
}

}  // namespace ingot::convert::gguf
