// The `mlx` row: checkpoints as mlx-lm writes them, affine codes and the MX and NVFP4 modes.
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/mlx_read.h"
#include "converters/layouts/mlx_write.h"
#include "converters/layouts/row_planes.h"

namespace ingot::convert {
namespace {

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "codes") return pack_row_codes(tensor, Nibbles::low_first, begin, out);
  if (part == "scales") return pack_row_plane(tensor, "scales_0", begin, out);
  if (part == "biases") return pack_row_plane(tensor, "biases", begin, out);
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': mlx has no part '" + std::string(part) + "'");
}

const HfCodec& mlx_codec() noexcept {
  static const HfCodec codec = {
      .layout = "mlx",
      .description = "MLX checkpoint directory (mlx-lm): affine 2, 3, 4, 5, 6 and 8 bits, mxfp4, mxfp8, nvfp4",
      .claims = mlx::claims,
      .read = mlx::read,
      .pack = pack,
      .one_encoding = [](const tensor::Tensor&, std::string_view) { return true; },
      .plan = mlx::plan,
      .configure = mlx::configure,
      .schemes = mlx::schemes(),
      .settings = {"scale_type", "bits", "group_size"},
      .packs_by_rows = true,
      .is_strict = true};
  return codec;
}

}  // namespace

const Layout& mlx_layout() noexcept {
  static const Layout row = hf_coded_layout<mlx_codec>();
  return row;
}

}  // namespace ingot::convert
