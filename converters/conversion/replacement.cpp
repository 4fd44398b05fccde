#include "converters/conversion/replacement.h"

#include <algorithm>
#include <optional>
#include <string>

#include "converters/registry.h"
#include "format/base/file_errors.h"

namespace ingot::convert {
namespace {

/// Is it a file by whose name one sees that it belongs to a checkpoint: weights, config, tokenizer, what Hugging Face
/// puts beside them?
bool has_checkpoint_name(const std::filesystem::path& file) {
  const std::string name = file.filename().string(), extension = file.extension().string();
  constexpr std::string_view kExtensions[] = {".safetensors", ".bin", ".pt", ".pth", ".model", ".jinja"};
  if (std::ranges::find(kExtensions, extension) != std::end(kExtensions)) return true;
  constexpr std::string_view kWords[] = {"config", "token", "vocab", "index", "template", "transforms"};
  constexpr std::string_view kNames[] = {"README.md", "LICENSE", ".gitattributes", "merges.txt", "vocab.txt"};
  return std::ranges::find(kNames, name) != std::end(kNames) ||
         (extension == ".json" &&
          std::ranges::any_of(kWords, [&](std::string_view word) { return name.find(word) != std::string::npos; }));
}

/// The first file in a directory that is none of a checkpoint, and none that the conversion copies from its source.
std::optional<std::filesystem::path> find_other_file(const std::filesystem::path& directory,
                                                     const tensor::Model& model) {
  namespace fs = std::filesystem;
  std::vector<fs::path> others;
  with_file_errors([&] {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
      if (entry.is_directory() && !entry.is_symlink()) continue;
      const fs::path path = entry.path().lexically_relative(directory);
      const bool is_copied = model.find_attachment("hf/" + path.generic_string()) != nullptr;
      if (!is_copied && (path.has_parent_path() || !has_checkpoint_name(path))) others.push_back(path);
    }
  });
  if (others.empty()) return std::nullopt;
  return *std::ranges::min_element(others);
}

}  // namespace

void refuse_to_replace_other_things(const tensor::Model& model, const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  std::error_code status;
  const fs::file_status there = fs::status(output, status);
  if (!fs::exists(there)) return;
  if (fs::is_directory(there)) {
    if (fs::is_empty(output, status)) return;
    if (std::ranges::none_of(layouts(),
                             [&](const Layout& layout) { return layout.is_directory && layout.detect(output); }))
      throw Error(ErrorKind::io,
                  output.string() + ": is a directory that holds no checkpoint; --force does not replace it");
    if (const std::optional<fs::path> other = find_other_file(output, model))
      throw Error(ErrorKind::io, output.string() + ": holds " + other->string() +
                                     ", which is no part of a checkpoint; --force does not replace it");
    return;
  }
  if (!fs::is_regular_file(there)) {
    throw Error(ErrorKind::io, output.string() + ": is no regular file; --force does not replace it");
  }
}

}  // namespace ingot::convert
