#include "converters/files/weight_file.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "converters/files/safetensors.h"
#include "converters/files/torch_file.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kProbeBytes = 256;

template <class Test>
bool probe(const fs::path& path, const Test& test) noexcept {
  try {
    std::error_code status;
    if (!fs::is_regular_file(path, status)) return false;
    std::array<char, kProbeBytes> first{};
    std::ifstream file(path, std::ios::binary);
    file.read(first.data(), first.size());
    const std::uint64_t size = fs::file_size(path, status);
    return !status && test(std::as_bytes(std::span(first.data(), static_cast<std::size_t>(file.gcount()))), size);
  } catch (const std::exception&) {
    return false;
  }
}

WeightFile from_safetensors(WeightFile file, const std::string& where) {
  SafetensorsHeader header = parse_safetensors(file.mapping->bytes(), where);
  file.aliases = std::move(header.metadata);
  file.entries.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries)
    file.entries.push_back({std::move(entry.name), entry.type->type, std::move(entry.shape), entry.begin, entry.end});
  return file;
}

}  // namespace

std::uint64_t WeightFile::head_bytes() const noexcept {
  std::uint64_t first = mapping->size();
  for (const WeightEntry& entry : entries)
    if (entry.size() > 0) first = std::min(first, entry.begin);
  return first;
}

bool is_safetensors_file(const fs::path& path) noexcept { return probe(path, looks_like_safetensors); }

bool is_weight_file(const fs::path& path) noexcept {
  return probe(path, [](Bytes first, std::uint64_t size) {
    return looks_like_safetensors(first, size) || looks_like_torch(first);
  });
}

WeightFile open_weight_file(const fs::path& root, const std::string& name) {
  const fs::path path = root == "." ? fs::path(name) : root / name;  // as it was asked for
  std::error_code status;
  if (!fs::exists(path, status)) throw Error(ErrorKind::io, path.string() + ": this shard is missing");
  WeightFile file;
  file.path = name;
  file.mapping = std::make_shared<const MappedFile>(path);
  const Bytes bytes = file.mapping->bytes();
  const Bytes first = bytes.first(std::min(bytes.size(), kProbeBytes));
  refuse_lfs_pointer(bytes, path.string());
  if (looks_like_safetensors(first, bytes.size()) || path.extension() == ".safetensors")
    return from_safetensors(std::move(file), path.string());
  if (!looks_like_torch(first)) {
    throw Error(ErrorKind::unsupported, path.string() + ": neither safetensors nor a file of torch.save");
  }
  TorchState state = read_torch_file(bytes, path.string());
  file.entries = std::move(state.entries);
  file.facts = std::move(state.facts);
  file.notes = std::move(state.notes);
  return file;
}

}  // namespace ingot::convert
