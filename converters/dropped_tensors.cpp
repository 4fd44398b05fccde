#include "converters/dropped_tensors.h"

#include <algorithm>
#include <array>

#include "converters/name_pattern.h"
#include "converters/option_error.h"

namespace ingot::convert {

bool is_activation_scale(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 10> kSuffixes = {"input_scale",       "input_global_scale",
                                                          "input_zero_point",  "output_scale",
                                                          "output_zero_point", "q_scale",
                                                          "k_scale",           "v_scale",
                                                          "k_zero_point",      "v_zero_point"};
  return std::ranges::any_of(kSuffixes, [&](std::string_view suffix) {
    const std::size_t rest = name.size() - std::min(name.size(), suffix.size());
    return name.ends_with(suffix) && (rest == 0 || name[rest - 1] == '.');
  });
}

void drop_tensors(tensor::Model& model, ConvertOptions& options) {
  options.dropped.clear();
  if (options.drop.empty()) return;
  const Layout* target = find_layout(options.to);
  if (target != nullptr && target->keeps_source) {
    throw Error(ErrorKind::unsupported,
                "--drop: layout " + options.to + " keeps the whole source, so that restore can give it back");
  }
  std::erase_if(model.tensors, [&](const tensor::Tensor& tensor) {
    if (!name_matches(tensor.name, options.drop, "--drop")) return false;
    options.dropped.push_back(tensor.name);
    return true;
  });
  if (model.tensors.empty()) throw OptionError("--drop '" + options.drop + "': all tensors have such names");
}

}  // namespace ingot::convert
