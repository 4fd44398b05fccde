// The `bnb` row: checkpoints of bitsandbytes, 4 bits (NF4, FP4) and LLM.int8.
#include <algorithm>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/bnb_read.h"
#include "converters/layouts/bnb_write.h"
#include "converters/layouts/row_planes.h"

namespace ingot::convert {
namespace {

constexpr std::string_view kMap = "map.";

[[noreturn]] void refuse(const tensor::Tensor& tensor, std::string_view part) {
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': bnb has no part '" + std::string(part) +
                                            "' for " + tensor::describe(tensor.scheme));
}

void pack_map(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  const std::vector<float> map = bnb::quant_map(part.substr(kMap.size()));
  const Bytes bytes = std::as_bytes(std::span(map));
  if (begin > bytes.size() || out.size() > bytes.size() - begin) refuse(tensor, part);
  const Bytes wanted = bytes.subspan(begin, out.size());
  std::copy(wanted.begin(), wanted.end(), out.begin());
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  const bool table = tensor.scheme.codes.kind == tensor::CodeKind::table;
  if (part == "codes") return pack_row_codes(tensor, table ? Nibbles::high_first : Nibbles::low_first, begin, out);
  if (part.starts_with(kMap)) return pack_map(tensor, part, begin, out);
  if (part != "scales_0" && part != "scales_1" && part != "table" && part != "scale_table") refuse(tensor, part);
  pack_row_plane(tensor, part, begin, out);
}

/// An odd number of 4-bit codes leaves half a byte, a wide storage type some bytes.
bool one_encoding(const tensor::Tensor& tensor, std::string_view part) {
  return part != "codes" || tensor.scheme.codes.kind != tensor::CodeKind::table || tensor.elements() % 16 == 0;
}

const HfCodec& bnb_codec() noexcept {
  static const HfCodec codec = {
      .layout = "bnb",
      .description = "bitsandbytes checkpoint directory: NF4, FP4, double quantization, LLM.int8",
      .claims = bnb::claims,
      .read = bnb::read,
      .pack = pack,
      .one_encoding = one_encoding,
      .plan = bnb::plan,
      .configure = bnb::configure,
      .schemes = bnb::schemes(),
      .settings = {"group_size"}};
  return codec;
}

}  // namespace

const Layout& bnb_layout() noexcept {
  static const Layout row = hf_coded_layout<bnb_codec>();
  return row;
}

}  // namespace ingot::convert
