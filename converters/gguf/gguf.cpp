// The layout `gguf`: one row that ties reading, writing and the way back together.
#include "converters/gguf/file.h"
#include "converters/gguf/read.h"
#include "converters/gguf/write.h"
#include "converters/layout_rows.h"

namespace ingot::convert {
namespace {

/// A file with the magic, or a directory of .gguf files that is no checkpoint of another kind.
bool detect(const std::filesystem::path& path) {
  std::error_code status;
  if (!std::filesystem::is_directory(path, status)) return gguf::has_magic(path);
  bool found = false;
  for (std::filesystem::directory_iterator entry(path, status), end; !status && entry != end; entry.increment(status)) {
    const std::string extension = entry->path().extension().string();
    if (extension == ".safetensors") return false;
    found |= extension == ".gguf" && gguf::has_magic(entry->path());
  }
  return found;
}

const Layout kLayout = {
    .name = "gguf",
    .description = "GGUF files of llama.cpp, single or split",
    .detect = detect,
    .read = gguf::read_model,
    .forecast = gguf::forecast_model,
    .write = gguf::write_model,
    .pack_segment = gguf::pack_segment,
    .is_directory = false,
    .find_patches = gguf::find_patches,
};

}  // namespace

const Layout& gguf_layout() noexcept { return kLayout; }

}  // namespace ingot::convert
