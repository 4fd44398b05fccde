// Fuzz target: any bytes as a safetensors file, config.json, tokenizer.json or tokenizer.model give a result or an
// Error.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "converters/files/safetensors.h"
#include "converters/hf/config.h"
#include "converters/hf/tokenizer.h"

namespace {

template <class Read>
void attempt(const Read& read) {
  try {
    read();
  } catch (const ingot::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A block of exactly this size, so that a sanitizer sees the first byte too far.
  const auto exact = std::make_unique<std::byte[]>(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, exact.get());
  const ingot::Bytes bytes(exact.get(), size);
  attempt([&] { (void)ingot::convert::parse_safetensors(bytes, "fuzz"); });
  attempt([&] { (void)ingot::convert::read_sentencepiece_model(bytes, "fuzz"); });
  attempt([&] { (void)ingot::convert::read_hf_config(ingot::parse_json(ingot::as_text(bytes), "fuzz"), "fuzz"); });
  attempt([&] {
    const ingot::Json json = ingot::parse_json(ingot::as_text(bytes), "fuzz");
    (void)ingot::convert::write_tokenizer_json(ingot::convert::read_tokenizer_json(json, "fuzz"));
  });
  return 0;
}
