// Choosing which tensors become quantized modules of a GPTQ or AWQ checkpoint, and in which form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "converters/hf/codec.h"
#include "converters/recode/recode.h"

namespace ingot::convert {

/// Could the tensor be a quantized linear layer: a matrix "X.weight" of integer codes with scales, and no embedding?
[[nodiscard]] bool is_quantized_linear(const tensor::Tensor& tensor, const std::string& name,
                                       const tensor::Model& model);
/// Codes are integers with scales.
[[nodiscard]] bool is_integer_coded(const tensor::Tensor& tensor);
/// "X" of "X.weight".
[[nodiscard]] std::string module_of(const std::string& weight_name);

/// Inputs that share a scale; the inputs of a row where the scale is the row's, the matrix's or that of several rows.
[[nodiscard]] std::uint64_t inputs_per_scale(const tensor::Tensor& tensor);

/// Codes u<bits>, scales of `scale_type` and zero points (or biases of the scales' type) by groups of `block_cols`
/// inputs.
[[nodiscard]] StoredForm linear_form(std::uint8_t bits, tensor::DType scale_type, std::uint32_t block_cols, bool bias);
/// Rows of scales that the form has for so many inputs.
[[nodiscard]] std::uint64_t groups_of(std::uint64_t inputs, std::uint32_t block_cols);

/// --set scale_type=f16|bf16|f32, else f16, which is what the libraries allocate. Throws unsupported for another word.
[[nodiscard]] tensor::DType scale_type_of(const WriteOptions& options, const std::string& layout);
/// --set `key`, or nothing.
[[nodiscard]] std::optional<std::string> setting(const WriteOptions& options, const std::string& key);

/// The form that a quantizer of symmetric codes makes: a constant zero in their middle.
[[nodiscard]] StoredForm symmetric_form(std::uint8_t bits, tensor::DType scale_type, std::uint32_t block_cols);
/// Why files whose zero points have as many bits as the codes cannot hold those of the tensor; empty: they can.
[[nodiscard]] std::string zero_points_problem(const tensor::Tensor& tensor);
/// Is the zero of all groups the middle of the codes?
[[nodiscard]] bool is_symmetric(const tensor::Tensor& tensor);

}  // namespace ingot::convert
