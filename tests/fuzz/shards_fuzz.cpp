// Fuzz target: any bytes as two shards of a GGUF model give an Error or a model whose tensors decode. The input begins
// with the length of the first shard (u32).
#include <algorithm>
#include <vector>

#include "converters/gguf/read.h"
#include "format/base/byte_reader.h"
#include "format/tensor/fingerprint.h"
#include "fuzz_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ingot::fuzz::Directory directory("shards");
  if (size < 4) return 0;
  const std::string_view rest = ingot::as_text(std::as_bytes(std::span(data, size).subspan(4)));
  const std::size_t first =
      std::min<std::size_t>(rest.size(), ingot::load_le<std::uint32_t>(reinterpret_cast<const std::byte*>(data)));
  directory.clear();
  directory.write("m-00001-of-00002.gguf", rest.substr(0, first));
  directory.write("m-00002-of-00002.gguf", rest.substr(first));
  try {
    ingot::tensor::Model model = ingot::convert::gguf::read_model(directory.path() / "m-00001-of-00002.gguf", {});
    for (const ingot::tensor::Tensor& tensor : model.tensors) (void)ingot::tensor::fingerprint(tensor);
    ingot::convert::gguf::find_patches(model);
  } catch (const ingot::Error&) {
  }
  return 0;
}
