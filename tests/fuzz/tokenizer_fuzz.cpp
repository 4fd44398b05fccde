// Fuzz target: any bytes as tokenizer.json or tokenizer.model give an Error or a tokenizer that turns text into tokens
// and back.
#include <array>

#include "converters/hf/tokenizer.h"
#include "runtime/runtime.h"

namespace {

constexpr std::array<std::string_view, 4> kTexts = {
    "Hello, world! It's 1234  o'clock.\n\n\tx", "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x99\x82\xef\xb8\x8f",
    "\xff\xc3<s> e\xcc\x81 \xd8\xb3", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

template <class Read>
void attempt(const Read& read) {
  try {
    const ingot::runtime::Tokenizer tokenizer(read());
    for (const std::string_view text : kTexts) (void)tokenizer.decode(tokenizer.encode(text, true, true), true);
  } catch (const ingot::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ingot::Bytes bytes = std::as_bytes(std::span(data, size));
  attempt([&] { return ingot::convert::read_sentencepiece_model(bytes, "fuzz"); });
  attempt(
      [&] { return ingot::convert::read_tokenizer_json(ingot::parse_json(ingot::as_text(bytes), "fuzz"), "fuzz"); });
  return 0;
}
