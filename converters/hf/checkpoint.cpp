// A checkpoint opened for a codec: tensors by name, and the part of the configuration that speaks of quantization.
#include <algorithm>
#include <array>
#include <cctype>

#include "converters/hf/codec.h"
#include "converters/hf/codec_layout.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{64} << 20;
constexpr std::array<std::string_view, 3> kQuantizationFiles = {"quantize_config.json", "quant_config.json",
                                                                "hf_quant_config.json"};

std::optional<Json> read_json(const HfDirectory& directory, std::string_view name) {
  if (std::find(directory.others.begin(), directory.others.end(), name) == directory.others.end()) return std::nullopt;
  const fs::path path = directory.root / name;
  return parse_json(read_text_file(path, kMaxConfigBytes), path.string());
}

const Json* quantization_in(const Json& config) {
  for (const Json* place : {&config, config.find("text_config")}) {
    if (place == nullptr) continue;
    for (const std::string_view key : {"quantization_config", "quantization", "compression_config"}) {
      const Json* found = place->find(key);
      if (found != nullptr && found->is_object()) return found;
    }
  }
  return nullptr;
}

}  // namespace

HfCheckpoint::HfCheckpoint(const fs::path& path) : directory_(open_hf_directory(path)), where_(path.string()) {
  for (const WeightFile& file : directory_.weights)
    for (const WeightEntry& entry : file.entries) tensors_.push_back({&file, &entry});
  by_name_.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name(), i);
  config_ = read_json(directory_, "config.json");
  if (const Json* found = config_ ? quantization_in(*config_) : nullptr) quantization_ = *found;
  for (const std::string_view name : kQuantizationFiles)
    if (!quantization_) quantization_ = read_json(directory_, name);
}

Bytes HfCheckpoint::Stored::bytes() const {
  if (!entry->is_dense()) {
    throw Error(ErrorKind::unsupported,
                file->mapping->path().string() + ": tensor '" + name() +
                    "' is part of a quantized one, and its elements are not in row-major order");
  }
  return file->bytes(*entry);
}

const HfCheckpoint::Stored* HfCheckpoint::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const WeightFact* HfCheckpoint::fact(std::string_view name) const noexcept {
  for (const WeightFile& file : directory_.weights)
    if (const auto found = file.facts.find(name); found != file.facts.end()) return &found->second;
  return nullptr;
}

std::string HfCheckpoint::quant_method() const {
  const Json* method = quantization_ ? quantization_->find("quant_method") : nullptr;
  if (method == nullptr || !method->is_string()) return {};
  std::string word = method->as_string(where_);
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  return word;
}

bool is_claimed(const fs::path& path, const HfCodec& codec) noexcept {
  try {
    return has_weights(path) && codec.claims(HfCheckpoint(path));
  } catch (const std::exception&) {
    return false;  // what is wrong with it is said by the reader
  }
}

}  // namespace ingot::convert
