// Writing GPTQ checkpoints: forms, the choice between gptq and gptq_v2, config files.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::gptq {

/// Words of --scheme.
[[nodiscard]] const std::vector<std::string_view>& schemes() noexcept;
/// checkpoint_format: what the user asks for, else gptq where it can hold all zero points, else gptq_v2.
[[nodiscard]] std::map<std::string, std::string> settle(const tensor::Model& model, const WriteOptions& options);
[[nodiscard]] CodedPlan plan(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                             const WriteOptions& options);
void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
               Json& config, std::map<std::string, std::string>& files);

}  // namespace ingot::convert::gptq
