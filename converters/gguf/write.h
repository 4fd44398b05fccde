// Writing of GGUF files from any neutral model.
#pragma once

#include <filesystem>

#include "converters/layout.h"

namespace ingot::convert::gguf {

[[nodiscard]] Forecast forecast_model(const tensor::Model& model, const WriteOptions& options);

/// One file, or with options.shard_bytes a set `<stem>-00001-of-0000N.gguf` beside `path`. Throws unsupported naming
/// the first tensor that GGUF cannot hold.
void write_model(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options);

}  // namespace ingot::convert::gguf
