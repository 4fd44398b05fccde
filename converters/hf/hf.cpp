// The `hf` row: a checkpoint directory (safetensors or files of torch.save, config.json, tokenizer files), or one file
// of weights. Written as safetensors.
#include "converters/hf/directory.h"
#include "converters/hf/planes.h"
#include "converters/hf/read.h"
#include "converters/hf/write.h"
#include "converters/layout_rows.h"

namespace ingot::convert {
namespace {

bool detect(const std::filesystem::path& path) { return has_weights(path); }

/// The only part is "raw": the elements as the file holds them.
void pack_segment(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin,
                  std::span<std::byte> out) {
  if (part != "raw")
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': the hf layout has no part '" + part + "'");
  pack_plain(tensor, begin, out);
}

}  // namespace

const Layout& hf_layout() noexcept {
  static const Layout row = {
      .name = "hf",
      .description =
          "Hugging Face directory: float safetensors or (read) PyTorch's .bin, .pt, .pth, with config and tokenizer",
      .detect = detect,
      .read = [](const std::filesystem::path& path, const ReadOptions& options) { return read_hf(path, options); },
      .forecast = [](const tensor::Model& model, const WriteOptions& options) { return forecast_hf(model, options); },
      .write = [](const tensor::Model& model, const std::filesystem::path& path,
                  const WriteOptions& options) { write_hf(model, path, options); },
      .pack_segment = pack_segment,
      .is_directory = true,
      .carries_column_order = [](const WriteOptions&) noexcept { return true; }};
  return row;
}

}  // namespace ingot::convert
