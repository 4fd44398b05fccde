// The `fp8` row.
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/scaled_read.h"
#include "converters/layouts/scaled_write.h"

namespace ingot::convert {
namespace {

using scaled::Form;
using scaled::has_form;

const HfCodec& fp8_codec() noexcept {
  static const HfCodec codec = {
      .layout = "fp8",
      .description = "FP8 checkpoint directory: by tensor, row or block (DeepSeek, FBGEMM, ModelOpt)",
      .claims = [](const HfCheckpoint& checkpoint) { return has_form(checkpoint, {Form::floats}); },
      .read = scaled::read,
      .pack = scaled::pack,
      .one_encoding = scaled::one_encoding,
      .plan = scaled::plan_fp8,
      .configure = scaled::configure_fp8,
      .schemes = scaled::fp8_schemes()};
  return codec;
}

}  // namespace

const Layout& fp8_layout() noexcept {
  static const Layout row = hf_coded_layout<fp8_codec>();
  return row;
}

}  // namespace ingot::convert
