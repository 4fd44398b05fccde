// What the runtime tests share: fixture files, places of optional data, expected logits.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "format/base/json.h"
#include "format/base/mapped_file.h"

namespace ingot::test {

inline std::filesystem::path data_directory() { return std::filesystem::path(INGOT_TEST_DATA) / "data"; }

/// Models and texts that are not part of the repository.
inline std::filesystem::path shared_directory() {
  const char* set = std::getenv("INGOT_SHARED");
  return set != nullptr ? std::filesystem::path(set) : std::filesystem::path(INGOT_TEST_DATA) / ".." / ".." / "shared";
}

/// The file in the directory INGOT_TEST_MODELS that tests/data/smollm2 is about.
inline constexpr const char* kSmolLm2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// And tests/data/gemma3-270m.
inline constexpr const char* kGemma3 = "gemma-3-270m-q4_k_m.gguf";

inline Json read_json(const std::filesystem::path& path) {
  return parse_json(read_text_file(path, 64u << 20), path.string());
}

inline std::vector<std::uint32_t> ids_of(const Json& json) {
  std::vector<std::uint32_t> ids;
  for (const Json& id : json.as_array("ids")) ids.push_back(static_cast<std::uint32_t>(id.as_u64("id")));
  return ids;
}

/// The F32 tensors of a safetensors file, read without the library under test.
inline std::map<std::string, std::vector<float>> read_f32_tensors(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto header_size = load_le<std::uint64_t>(file.bytes().data());
  const Json header = parse_json(as_text(file.bytes().subspan(8, header_size)), path.string());
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& [name, entry] : header.as_object("header")) {
    if (name == "__metadata__") continue;
    const JsonArray& offsets = entry.at("data_offsets", name).as_array(name);
    const std::uint64_t begin = offsets[0].as_u64(name), end = offsets[1].as_u64(name);
    std::vector<float>& values = tensors[name];
    values.resize((end - begin) / sizeof(float));
    std::memcpy(values.data(), file.bytes().data() + 8 + header_size + begin, end - begin);
  }
  return tensors;
}

}  // namespace ingot::test
