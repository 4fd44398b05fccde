// Chat messages -> prompt text through the model's own template. The variables are those that transformers passes.
#include "format/base/error.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

std::string render_chat(const tensor::TokenizerSpec& spec, std::span<const Message> messages,
                        bool add_generation_prompt) {
  if (spec.chat_template.empty()) throw Error(ErrorKind::unsupported, "the model has no chat template");
  jinja::List list;
  for (const Message& message : messages)
    list.emplace_back(jinja::Dict{{"role", message.role}, {"content", message.content}});
  jinja::Names globals = {
      {"messages", list}, {"add_generation_prompt", add_generation_prompt}, {"tools", nullptr}, {"documents", nullptr}};
  const auto special = [&](const char* name, const std::optional<std::uint32_t>& id) {
    if (id && *id < spec.tokens.size()) globals.emplace_back(name, spec.tokens[*id]);
  };
  special("bos_token", spec.bos);
  special("eos_token", spec.eos);
  special("unk_token", spec.unknown);
  special("pad_token", spec.padding);
  return jinja::render(*jinja::parse_template(spec.chat_template), globals);
}

}  // namespace ingot::runtime
