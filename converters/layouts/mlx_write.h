// Models as MLX checkpoints: which form every tensor takes, and the config.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::mlx {

/// Words of --scheme.
[[nodiscard]] const std::vector<std::string_view>& schemes() noexcept;
[[nodiscard]] CodedPlan plan(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                             const WriteOptions& options);
void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
               Json& config, std::map<std::string, std::string>& files);

}  // namespace ingot::convert::mlx
