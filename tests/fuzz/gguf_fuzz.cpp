// Fuzz target: any bytes as a GGUF file give an Error or a model whose tensors decode.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "converters/gguf/read.h"
#include "format/tensor/decode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("gguf_fuzz." + std::to_string(::getpid()) + ".gguf");
  {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  constexpr std::uint64_t kDecodedElems = 1 << 16;
  try {
    ingot::tensor::Model model = ingot::convert::gguf::read_model(path, {});
    for (const ingot::tensor::Tensor& tensor : model.tensors) {
      if (tensor.scheme.codes.kind == ingot::tensor::CodeKind::opaque || tensor.elements() > kDecodedElems) continue;
      std::vector<float> values(tensor.elements());
      ingot::tensor::decode_logical(tensor, values);
    }
    ingot::convert::gguf::find_patches(model);
  } catch (const ingot::Error&) {
  }
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return 0;
}
