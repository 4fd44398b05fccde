// A plain tensor whose elements lie with gaps or in another order than row-major inside a file (views that torch.save
// kept as they were): gathered row by row, never as a whole.
#pragma once

#include <memory>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/tensor/tensor.h"

namespace ingot::convert {

/// `bytes`: from the first element to the last one, inside `file`; `strides`: in elements, one per extent of the stored
/// tensor, none leading outside `bytes`. Element types of whole bytes. The source keeps the mapping alive.
[[nodiscard]] std::shared_ptr<const tensor::PlaneSource> strided_planes(std::shared_ptr<const MappedFile> file,
                                                                        Bytes bytes, std::vector<std::uint64_t> strides,
                                                                        const tensor::Tensor& tensor);

}  // namespace ingot::convert
