// Writing AutoAWQ checkpoints: gemm, gemv, gemv_fast.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::awq {

/// Words of --scheme.
[[nodiscard]] const std::vector<std::string_view>& schemes() noexcept;
/// The group size where the user names none: AutoAWQ knows one for all modules, so the widest that lies inside all
/// groups.
[[nodiscard]] std::map<std::string, std::string> settle(const tensor::Model& model, const WriteOptions& options);
[[nodiscard]] CodedPlan plan(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                             const WriteOptions& options);
void configure(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
               Json& config, std::map<std::string, std::string>& files);

}  // namespace ingot::convert::awq
