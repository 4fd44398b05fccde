// The tokenizer and the chat template of a model: errors name it.
#include "format/base/error.h"
#include "runtime/model_errors.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

Tokenizer tokenizer_of(const tensor::Model& model) {
  if (model.tokenizer) return naming(model, [&] { return Tokenizer(*model.tokenizer); });
  const auto reason = model.metadata.find("source.tokenizer");
  throw Error(
      ErrorKind::unsupported,
      model.path.string() + (reason == model.metadata.end() ? ": carries no tokenizer"
                                                            : ": its tokenizer is not supported: " + reason->second));
}

std::string render_chat(const tensor::Model& model, std::span<const Message> messages, bool add_generation_prompt) {
  return naming(model, [&] { return render_chat(*model.tokenizer, messages, add_generation_prompt); });
}

}  // namespace ingot::runtime
