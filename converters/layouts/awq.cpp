// The `awq` row: AutoAWQ checkpoints (GEMM, GEMV, GEMV_FAST, Marlin) and llm-awq's tensors inside a Hugging Face
// directory.
#include <algorithm>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/awq_planes.h"
#include "converters/layouts/awq_read.h"
#include "converters/layouts/awq_write.h"
#include "converters/layouts/linear_modules.h"

namespace ingot::convert {
namespace {

struct Packer {
  std::string_view part;
  void (*store)(const LinearView& view, const PartRange& range);
  std::uint64_t offset_bytes;  // that the scheme must have; 0: any
};

constexpr Packer kPackers[] = {{"qweight.gemm", awq::store_gemm, 0},
                               {"qzeros.gemm", awq::store_gemm_zeros, 1},
                               {"scales", store_scales, 0},
                               {"qweight.gemv", awq::store_gemv, 0},
                               {"qzeros.gemv", awq::store_gemv_zeros, 1},
                               {"scales.gemv", awq::store_gemv_scales, 0},
                               {"qweight.fast", awq::store_fast, 0},
                               {"qzeros.fast", store_offsets, 2},
                               {"scales.fast", store_scales, 0},
                               {"qweight.marlin", store_marlin, 0},
                               {"scales.marlin", store_marlin_scales, 0}};

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  const LinearView view(tensor);
  const auto row =
      std::find_if(std::begin(kPackers), std::end(kPackers), [&](const Packer& packer) { return packer.part == part; });
  const bool padded = part.ends_with(".gemv") || part.ends_with(".fast");
  if (row == std::end(kPackers) || view.bits() != 4 || view.offset_bytes() < row->offset_bytes ||
      (part.ends_with(".gemv") && awq::gemv_zeros_width(view.inputs(), view.group_size()) == 0)) {
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': awq has no part '" + std::string(part) +
                                              "' for " + tensor::describe(tensor.scheme));
  }
  if (padded) std::fill(out.begin(), out.end(), std::byte{0});  // rows of padded groups
  row->store(view, PartRange(begin, out));
}

/// Padded groups may hold anything.
bool one_encoding(const tensor::Tensor& tensor, std::string_view part) {
  if (part == "qweight.gemv" || part == "qweight.fast") return true;
  if (!part.ends_with(".gemv") && !part.ends_with(".fast")) return true;
  const std::uint32_t cols = tensor.scheme.scales[0].block.cols;
  const std::uint64_t inputs = tensor.shape[1], size = cols == 0 ? inputs : cols;
  return inputs % size == 0 && awq::gemv_zeros_width(inputs, size) * 8 == inputs / size;
}

const HfCodec& awq_codec() noexcept {
  static const HfCodec codec = {
      .layout = "awq",
      .description = "AWQ checkpoint directory: AutoAWQ gemm, gemv, gemv_fast, marlin, and llm-awq tensors; 4 bits",
      .claims = [](const HfCheckpoint& checkpoint) { return linear_family(checkpoint) == LinearFamily::awq; },
      .read = awq::read,
      .pack = pack,
      .one_encoding = one_encoding,
      .settle = awq::settle,
      .plan = awq::plan,
      .configure = awq::configure,
      .schemes = awq::schemes(),
      .settings = {"version", "scale_type", "bits", "group_size", "sym"},
      .holds_activation_divisors = true};
  return codec;
}

}  // namespace

const Layout& awq_layout() noexcept {
  static const Layout row = hf_coded_layout<awq_codec>();
  return row;
}

}  // namespace ingot::convert
