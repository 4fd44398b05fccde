// Writes .ingot files of every kind of scheme for the specification's own reader to judge
// (tests/reference/run_samples).
//     write_container_samples DIRECTORY
#include <cstdio>
#include <exception>
#include <filesystem>

#include "container_models.h"

using namespace ingot;
using namespace ingot::test;

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  const std::filesystem::path directory = argv[1];
  tensor::Model model = make_model_of_all_schemes();
  // The reference reader decodes numbers only.
  std::erase_if(model.tensors,
                [](const tensor::Tensor& tensor) { return tensor.scheme.codes.kind == tensor::CodeKind::opaque; });
  (void)container::write(model, directory / "raw.ingot", fast());
  (void)container::write(model, directory / "zstd.ingot", fast(container::Compression::zstd));
  (void)container::write(make_small_model(), directory / "edited.ingot", fast());
  container::edit_metadata(directory / "edited.ingot", {{"note", "line\nbreak \x01 \x7F \"q\" \\ caf\xC3\xA9"}});
  container::edit_metadata(directory / "edited.ingot", {{"general.name", std::nullopt}});
  container::WriteOptions cut = fast(container::Compression::zstd);
  cut.shard_bytes = 12000;
  std::erase_if(model.tensors, [](const tensor::Tensor& tensor) { return tensor.elements() > 2000; });
  model.source.reset();
  (void)container::write(model, directory / "set.ingot", cut);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
