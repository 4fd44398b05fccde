// Tensors of a safetensors file as plane sources: views into the mapping; and back to the file's bytes.
#pragma once

#include <memory>
#include <span>

#include "format/base/mapped_file.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// The scheme of an unquantized tensor of this element type (opaque for types without a numeric meaning).
[[nodiscard]] tensor::Scheme plain_scheme(tensor::DType type);

/// Planes of a plain tensor in packing rows whose elements lie densely at `bytes` inside `file`. Rows that are no whole
/// number of bytes (4- and 6-bit types) are realigned on the fly. The source keeps the mapping alive.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> plain_planes(std::shared_ptr<const MappedFile> file,
                                                                      Bytes bytes, const tensor::Tensor& tensor);

/// Bytes [begin, begin + out.size()) of the dense elements of a plain tensor in packing rows, in stored order: what its
/// file held. Thread-safe. Throws unsupported for any other tensor.
void pack_plain(const tensor::Tensor& tensor, std::uint64_t begin, std::span<std::byte> out);

}  // namespace ingot::convert
