// Which of the values of a PyTorch file is the state dict.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "converters/files/torch_objects.h"
#include "converters/files/weight_fact.h"

namespace ingot::convert {

struct StateDict {
  std::vector<std::pair<std::string, const TorchTensor*>> tensors;  // in the order of the file
  WeightFacts facts;                                                // what modules say beside their tensors
  std::vector<std::string> notes;                                   // what else the file holds, one sentence each
};

/// A dictionary from strings to tensors: the whole value, the only one inside it, the one under a customary name
/// ("state_dict", "model", ...), or a dictionary of nothing but modules, each with its tensors and maybe facts, of
/// which some may lie in a dictionary of their own ("meta"). Throws unsupported, with a list of what is inside, when
/// none of these is the case. `objects` must outlive the result.
[[nodiscard]] StateDict find_state_dict(const Pickle& pickle, const TorchObjects& objects, std::string_view where);

}  // namespace ingot::convert
