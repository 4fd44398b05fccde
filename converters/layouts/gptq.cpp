// The `gptq` row: GPTQ checkpoints (gptq, gptq_v2, gptq_p, Marlin) inside a Hugging Face directory.
#include <algorithm>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/gptq_planes.h"
#include "converters/layouts/gptq_read.h"
#include "converters/layouts/gptq_write.h"
#include "converters/layouts/linear_modules.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using gptq::ZeroCoding;

/// "qzeros.v1.i16" in its words.
struct PartName {
  std::string_view base, kind;
  std::uint8_t word_bits = 32;
};

PartName parse_part(std::string_view part) {
  PartName name;
  constexpr std::pair<std::string_view, std::uint8_t> kWords[] = {{".i8", 8}, {".i16", 16}, {".i64", 64}};
  for (const auto& [suffix, bits] : kWords) {
    if (!part.ends_with(suffix)) continue;
    name.word_bits = bits;
    part.remove_suffix(suffix.size());
    break;
  }
  const std::size_t dot = part.find('.');
  name.base = part.substr(0, dot);
  if (dot != std::string_view::npos) name.kind = part.substr(dot + 1);
  return name;
}

std::optional<ZeroCoding> zero_coding(std::string_view kind) {
  constexpr std::pair<std::string_view, ZeroCoding> kRows[] = {{"v1", ZeroCoding::minus_one},
                                                               {"v1_words", ZeroCoding::minus_one_words},
                                                               {"v2", ZeroCoding::plain},
                                                               {"planar", ZeroCoding::planar}};
  for (const auto& [word, coding] : kRows)
    if (word == kind) return coding;
  return std::nullopt;
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  const LinearView view(tensor);
  const PartRange range(begin, out);
  const PartName name = parse_part(part);
  if (name.base == "qweight") {
    if (name.kind == "marlin" && view.bits() == 4) return store_marlin(view, range);
    if (name.kind.empty() || name.kind == "planar")
      return gptq::store_code_words(view, name.word_bits, name.kind == "planar", range);
  } else if (name.base == "scales") {
    return name.kind == "marlin" ? store_marlin_scales(view, range) : store_scales(view, range);
  } else if (name.base == "g_idx") {
    return gptq::store_group_indexes(view, range);
  } else if (const auto coding = zero_coding(name.kind); name.base == "qzeros" && coding && view.offset_bytes() == 1) {
    return gptq::store_zero_words(view, *coding, name.word_bits, range);
  }
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': gptq has no part '" + std::string(part) +
                                            "' for " + tensor::describe(tensor.scheme));
}

/// Only padding bits have several spellings.
bool one_encoding(const tensor::Tensor& tensor, std::string_view part) {
  const PartName name = parse_part(part);
  const std::uint64_t bits = tensor::bits(tensor.scheme.codes.type);
  if (name.base == "qweight" && name.kind != "marlin") return tensor.shape[1] * bits % name.word_bits == 0;
  if (name.base == "qzeros") return tensor.shape[0] * bits % std::max<std::uint64_t>(name.word_bits, 32) == 0;
  return true;
}

const HfCodec& gptq_codec() noexcept {
  static const HfCodec codec = {
      .layout = "gptq",
      .description = "GPTQ checkpoint directory: gptq, gptq_v2, gptq_p, Marlin; 2, 3, 4 and 8 bits",
      .claims = [](const HfCheckpoint& checkpoint) { return linear_family(checkpoint) == LinearFamily::gptq; },
      .read = gptq::read,
      .pack = pack,
      .one_encoding = one_encoding,
      .settle = gptq::settle,
      .plan = gptq::plan,
      .configure = gptq::configure,
      .schemes = gptq::schemes(),
      .settings = {"checkpoint_format", "scale_type", "bits", "group_size", "sym"},
      .carries_column_order = [](const WriteOptions&) noexcept { return true; }};
  return codec;
}

}  // namespace

const Layout& gptq_layout() noexcept {
  static const Layout row = hf_coded_layout<gptq_codec>();
  return row;
}

}  // namespace ingot::convert
