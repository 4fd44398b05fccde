// Errors with the model's path in front, for what is found where nobody knows it: in a config or a tokenizer.
#pragma once

#include <string>
#include <string_view>

#include "format/base/error.h"
#include "format/tensor/model.h"

namespace ingot::runtime {

/// What work() returns. An Error that it throws names the model, unless it begins with a path in it.
template <class Work>
auto naming(const tensor::Model& model, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    const std::string path = model.path.string();
    if (std::string_view(error.what()).starts_with(path)) throw;
    throw Error(error.kind, path + ": " + error.what(), error.offset);
  }
}

}  // namespace ingot::runtime
