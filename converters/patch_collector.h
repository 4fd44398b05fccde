// Where the bytes that a packer gives differ from those of the file: the patches of a restore recipe (spec/restore.md).
#pragma once

#include <string>
#include <vector>

#include "format/tensor/model.h"

namespace ingot::convert {

/// One per source file; ranges must be compared in ascending order.
class PatchCollector {
 public:
  /// Patches are appended to `file`; their bytes go into an attachment of this name.
  PatchCollector(tensor::SourceFile& file, std::string attachment) : file_(file), attachment_(std::move(attachment)) {}

  /// `packed` stands where the file has `actual`, at `offset` of the file. Same size.
  void compare(std::uint64_t offset, Bytes actual, Bytes packed);
  /// Adds the attachment to the model, if there is any patch.
  void finish(tensor::Model& model);

 private:
  void add(std::uint64_t offset, Bytes bytes);

  tensor::SourceFile& file_;
  std::string attachment_;
  std::vector<std::byte> bytes_;
};

}  // namespace ingot::convert
