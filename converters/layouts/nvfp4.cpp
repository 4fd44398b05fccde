// The `nvfp4` row.
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/scaled_read.h"
#include "converters/layouts/scaled_write.h"

namespace ingot::convert {
namespace {

using scaled::Form;
using scaled::has_form;

const HfCodec& nvfp4_codec() noexcept {
  static const HfCodec codec = {
      .layout = "nvfp4",
      .description = "NVFP4 checkpoint directory (ModelOpt)",
      .claims = [](const HfCheckpoint& checkpoint) { return has_form(checkpoint, {Form::nvfp4}); },
      .read = scaled::read,
      .pack = scaled::pack,
      .one_encoding = scaled::one_encoding,
      .plan = scaled::plan_nvfp4,
      .configure = scaled::configure_nvfp4};
  return codec;
}

}  // namespace

const Layout& nvfp4_layout() noexcept {
  static const Layout row = hf_coded_layout<nvfp4_codec>();
  return row;
}

}  // namespace ingot::convert
