// Names that differ only in numbers (layers, experts), shown as one: "model.layers.{0..29}.self_attn.q_proj.weight".
#pragma once

#include <string>
#include <vector>

namespace ingot::inspect {

/// Something with a name; items fold only when their keys are equal.
struct NamedItem {
  std::string name;
  std::string key;
};

struct NameGroup {
  std::string pattern;               // the name itself when there is one member
  std::vector<std::size_t> members;  // positions in the list, ascending
};

/// Groups in order of first appearance; with `fold` false every item is its own group.
[[nodiscard]] std::vector<NameGroup> fold_names(const std::vector<NamedItem>& items, bool fold);

}  // namespace ingot::inspect
