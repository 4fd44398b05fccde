// The `compressed-tensors` row.
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/scaled_read.h"
#include "converters/layouts/scaled_write.h"

namespace ingot::convert {
namespace {

using scaled::Form;
using scaled::has_form;

const HfCodec& compressed_tensors_codec() noexcept {
  static const HfCodec codec = {.layout = "compressed-tensors",
                                .description =
                                    "compressed-tensors checkpoint directory (llm-compressor, vLLM): pack, int, float, "
                                    "nvfp4, mxfp4 and mxfp8 quantized",
                                .claims =
                                    [](const HfCheckpoint& checkpoint) {
                                      return checkpoint.quant_method() == "compressed-tensors" ||
                                             has_form(checkpoint, {Form::packed_words, Form::nvfp4_divided});
                                    },
                                .read = scaled::read,
                                .pack = scaled::pack,
                                .one_encoding = scaled::one_encoding,
                                .plan = scaled::plan_compressed,
                                .configure = scaled::configure_compressed,
                                .schemes = scaled::compressed_schemes(),
                                .settings = {"bits", "group_size", "sym", "actorder"},
                                .carries_column_order = scaled::keeps_act_order};
  return codec;
}

}  // namespace

const Layout& compressed_tensors_layout() noexcept {
  static const Layout row = hf_coded_layout<compressed_tensors_codec>();
  return row;
}

}  // namespace ingot::convert
