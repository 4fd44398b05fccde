// Writing the layouts compressed-tensors, fp8, mxfp4 and nvfp4: HfCodec::plan and configure.
#pragma once

#include "converters/hf/codec.h"

namespace ingot::convert::scaled {

/// Words of --scheme.
[[nodiscard]] const std::vector<std::string_view>& compressed_schemes() noexcept;
[[nodiscard]] const std::vector<std::string_view>& fp8_schemes() noexcept;

/// Integer codes in words (pack-quantized) or bytes (int-quantized), FP8, MXFP8, MXFP4 and NVFP4, by module.
[[nodiscard]] CodedPlan plan_compressed(const tensor::Tensor& source, const std::string& file_name,
                                        const tensor::Model& model, const WriteOptions& options);
/// --set actorder=group: codes keep their act-order, by a g_idx. The library reads that up to 0.19.
[[nodiscard]] bool keeps_act_order(const WriteOptions& options) noexcept;
void configure_compressed(const tensor::Model& model, const std::vector<CodedOutput>& outputs,
                          const WriteOptions& options, Json& config, std::map<std::string, std::string>& files);

/// FP8 by tensor, by row or by 128 x 128 block, where the source has it so.
[[nodiscard]] CodedPlan plan_fp8(const tensor::Tensor& source, const std::string& file_name, const tensor::Model& model,
                                 const WriteOptions& options);
void configure_fp8(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
                   Json& config, std::map<std::string, std::string>& files);

/// Stacked experts as gpt-oss has them.
[[nodiscard]] CodedPlan plan_mxfp4(const tensor::Tensor& source, const std::string& file_name,
                                   const tensor::Model& model, const WriteOptions& options);
void configure_mxfp4(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
                     Json& config, std::map<std::string, std::string>& files);

/// ModelOpt's NVFP4, from the same.
[[nodiscard]] CodedPlan plan_nvfp4(const tensor::Tensor& source, const std::string& file_name,
                                   const tensor::Model& model, const WriteOptions& options);
void configure_nvfp4(const tensor::Model& model, const std::vector<CodedOutput>& outputs, const WriteOptions& options,
                     Json& config, std::map<std::string, std::string>& files);

/// Modules of the output that stay plain matrices, and a tied head: what such configs must name as not quantized.
[[nodiscard]] Json plain_modules(const std::vector<CodedOutput>& outputs);

}  // namespace ingot::convert::scaled
