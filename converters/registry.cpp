// The table of layouts, and detection by looking at the bytes. A new layout is one row here.
#include "converters/registry.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

#include "converters/files/safetensors.h"
#include "converters/layout_rows.h"
#include "format/base/file_errors.h"

namespace ingot::convert {
namespace {

// Order of detection: file formats with a magic first, directories last.
using LayoutRow = const Layout& (*)() noexcept;
constexpr std::array<LayoutRow, 15> kRows = {
    ingot_layout, gguf_layout,   gptq_layout,    awq_layout,  compressed_tensors_layout,
    nvfp4_layout, mxfp4_layout,  fp8_layout,     bnb_layout,  mlx_layout,
    hqq_layout,   quanto_layout, torchao_layout, exl2_layout, hf_layout};

constexpr std::array<std::string_view, 4> kProofNames = {"exact", "codes", "requantized", "refused"};

std::string known_names() {
  std::string names;
  for (const Layout& layout : layouts()) {
    if (!names.empty()) names += ", ";
    names += layout.name;
  }
  return names;
}

}  // namespace

std::string_view name(ProofClass value) noexcept { return kProofNames[static_cast<std::size_t>(value)]; }

std::span<const Layout> layouts() noexcept {
  static const std::vector<Layout> table = [] {
    std::vector<Layout> rows;
    for (const LayoutRow row : kRows) rows.push_back(row());
    return rows;
  }();
  return table;
}

const Layout* find_layout(std::string_view name) noexcept {
  for (const Layout& layout : layouts())
    if (layout.name == name) return &layout;
  return nullptr;
}

namespace {

/// What nothing recognises may be a clone whose large files were not fetched.
void refuse_pointers(const std::filesystem::path& path) {
  const auto refuse = [](const std::filesystem::path& file) {
    std::error_code status;
    constexpr std::size_t kPointerBytes = 512;
    if (!std::filesystem::is_regular_file(file, status)) return;
    std::string begin(kPointerBytes, '\0');
    std::ifstream stream(file, std::ios::binary);  // what cannot be opened is no reason to say nothing else
    stream.read(begin.data(), static_cast<std::streamsize>(begin.size()));
    begin.resize(static_cast<std::size_t>(stream.gcount()));
    refuse_lfs_pointer(as_bytes_view(begin), file.string());
  };
  refuse(path);
  std::error_code status;
  for (std::filesystem::directory_iterator entry(path, status), end; !status && entry != end; entry.increment(status))
    for (const char* ending : {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ingot"})
      if (entry->path().extension() == ending) refuse(entry->path());
}

/// Throws what is wrong with the weight files of a directory that no layout recognises, if it has any.
void explain_weights(const std::filesystem::path& directory) {
  std::error_code status;
  bool any = false;
  for (std::filesystem::directory_iterator entry(directory, status), end; !status && entry != end;
       entry.increment(status))
    any |= entry->path().extension() == ".safetensors";
  if (any) (void)hf_layout().read(directory, {});
}

}  // namespace

const Layout& detect_layout(const std::filesystem::path& path) {
  std::error_code status;
  if (!std::filesystem::exists(path, status)) {
    throw Error(ErrorKind::io,
                path.string() + ": " + (status ? "cannot read: " + status.message() : "no such file or directory"));
  }
  if (::access(path.c_str(), R_OK) != 0)
    throw Error(ErrorKind::io, path.string() + ": cannot read: " + std::generic_category().message(errno));
  for (const Layout& layout : layouts())
    if (layout.detect(path)) return layout;
  const bool directory = std::filesystem::is_directory(path, status);
  refuse_pointers(path);
  if (directory) explain_weights(path);
  if (!directory && std::filesystem::file_size(path, status) == 0 && !status)
    throw Error(ErrorKind::truncated, path.string() + ": is empty");
  if (!directory && path.extension() == ".safetensors") (void)hf_layout().read(path, {});
  throw Error(ErrorKind::unsupported, path.string() + ": no layout recognises this " +
                                          (directory ? "directory" : "file") + " (looked for: " + known_names() + ")");
}

tensor::Model read_model(const std::filesystem::path& path, std::string_view from, const ReadOptions& options) {
  const Layout* layout = nullptr;
  if (from.empty()) {
    layout = &detect_layout(path);
  } else {
    layout = find_layout(from);
    if (layout == nullptr) {
      throw Error(ErrorKind::unsupported, "unknown layout '" + std::string(from) + "' (known: " + known_names() + ")");
    }
  }
  return with_file_errors([&] { return layout->read(path, options); });
}

}  // namespace ingot::convert
