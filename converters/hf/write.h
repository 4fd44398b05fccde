// Writing side of the `hf` row and of every layout with a codec (codec.h): any neutral model -> a directory that
// transformers loads.
#pragma once

#include "converters/layout.h"

namespace ingot::convert {

struct HfCodec;

/// Decides every tensor's element type and, where a narrower one was asked for, looks at the values. Throws unsupported
/// for a scheme other than f32, f16, bf16.
[[nodiscard]] Forecast forecast_hf(const tensor::Model& model, const WriteOptions& options,
                                   const HfCodec* codec = nullptr);
/// Writes into `<path>.tmp-<pid>` and renames: the directory appears complete or not at all. `path` may exist as an
/// empty directory.
void write_hf(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options,
              const HfCodec* codec = nullptr);

}  // namespace ingot::convert
