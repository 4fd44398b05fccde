// Fuzz target: any text as README.md gives facts about a model which, written into a head of our own, are read again.
#include <cstdlib>

#include "converters/hf/model_card.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ingot::tensor::Model model, again;
  ingot::convert::read_model_card({reinterpret_cast<const char*>(data), size}, model);
  ingot::convert::read_model_card(ingot::convert::write_model_card(model), again);
  if (again.metadata != model.metadata) std::abort();
  return 0;
}
