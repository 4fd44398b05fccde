#include "converters/dropped_tensors.h"

#include "converters/scheme_choice.h"

namespace ingot::convert {

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
}

}  // namespace ingot::convert
