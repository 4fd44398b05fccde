// Fuzz target: any text as README.md gives facts about a model which, written into a head of our own, are read again;
// an edit of them is read from the card that was changed for it, and without one the card stays.
#include <cstdlib>

#include "converters/hf/model_card.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view card(reinterpret_cast<const char*>(data), size);
  ingot::tensor::Model model, again, edited;
  ingot::convert::read_model_card(card, model);
  ingot::convert::read_model_card(ingot::convert::write_model_card(model), again);
  if (again.metadata != model.metadata || ingot::convert::update_model_card(card, model)) std::abort();
  model.metadata["general.name"] = "edited";
  const std::optional<std::string> updated = ingot::convert::update_model_card(card, model);
  if (!updated) return 0;
  ingot::convert::read_model_card(*updated, edited);
  if (edited.metadata != model.metadata) std::abort();
  return 0;
}
