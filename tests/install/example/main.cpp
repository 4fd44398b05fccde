// Lists the tensors of an .ingot file with the installed library.
#include <cstdio>
#include <string>

#include "format/container/container.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const ingot::tensor::Model model = ingot::container::open(argv[1]);
    for (const ingot::tensor::Tensor& tensor : model.tensors) {
      std::string shape;
      for (const auto extent : tensor.shape) shape += " " + std::to_string(extent);
      std::printf("%s%s\n", tensor.name.c_str(), shape.c_str());
    }
    return 0;
  } catch (const ingot::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
