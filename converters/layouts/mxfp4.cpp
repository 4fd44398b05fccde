// The `mxfp4` row.
#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/scaled_read.h"
#include "converters/layouts/scaled_write.h"

namespace ingot::convert {
namespace {

using scaled::Form;
using scaled::has_form;

const HfCodec& mxfp4_codec() noexcept {
  static const HfCodec codec = {.layout = "mxfp4",
                                .description = "MXFP4 checkpoint directory (gpt-oss, Quark)",
                                .claims =
                                    [](const HfCheckpoint& checkpoint) {
                                      return has_form(checkpoint, {Form::mxfp4, Form::mxfp4_blocks});
                                    },
                                .read = scaled::read,
                                .pack = scaled::pack,
                                .one_encoding = scaled::one_encoding,
                                .plan = scaled::plan_mxfp4,
                                .configure = scaled::configure_mxfp4};
  return codec;
}

}  // namespace

const Layout& mxfp4_layout() noexcept {
  static const Layout row = hf_coded_layout<mxfp4_codec>();
  return row;
}

}  // namespace ingot::convert
