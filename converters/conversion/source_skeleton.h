// What stays of source files that were removed after their conversion, and the model that it makes together with the
// files that are still there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "converters/conversion/staging.h"
#include "format/tensor/model.h"

namespace ingot::convert {

struct FileRange {
  std::uint64_t begin = 0, size = 0;
};

/// The directory that the paths of Model::source are relative to.
[[nodiscard]] std::filesystem::path source_root(const std::filesystem::path& model_path);
/// What readers and forecasts never look at once the tensors are converted: the bytes of tensors that are larger than
/// the small facts (zero points, group indexes) by which readers judge a checkpoint.
[[nodiscard]] std::vector<FileRange> large_tensors(const tensor::SourceFile& file);
/// A copy of `file` with holes, of the same time of change; durable. Bears the name `temporary` until it is whole.
void write_skeleton(const std::filesystem::path& file, const std::filesystem::path& skeleton,
                    const std::filesystem::path& temporary, const std::vector<FileRange>& holes);
/// Name of the journal's fact about a removed file: its hash.
[[nodiscard]] std::string removal_fact(const std::string& path);

/// The model as a later run will open it once the file of this name is gone.
[[nodiscard]] tensor::Model rehearse(const tensor::Model& model, const Staging& staging, const std::string& name,
                                     bool trust_config);
/// Do both have the same tensors and attachments, and the same first values of tensors that can be read in both?
[[nodiscard]] bool describes_the_same(const tensor::Model& model, const tensor::Model& other);

}  // namespace ingot::convert
