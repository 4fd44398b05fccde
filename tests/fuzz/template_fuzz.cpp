// Fuzz target: any text as a chat template gives a prompt or an Error.
#include <array>

#include "format/base/error.h"
#include "runtime/runtime.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::array<ingot::runtime::Message, 3> messages = {
      {{"system", "Be brief."}, {"user", "What is <this>?\n"}, {"assistant", "That."}}};
  ingot::tensor::TokenizerSpec spec;
  spec.tokens = {"<s>", "</s>"};
  spec.bos = 0;
  spec.eos = 1;
  spec.chat_template.assign(reinterpret_cast<const char*>(data), size);
  try {
    (void)ingot::runtime::render_chat(spec, messages, true);
  } catch (const ingot::Error&) {
  }
  return 0;
}
