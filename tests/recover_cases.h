// Float tensors for the tests of recovery.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "converters/files/safetensors.h"
#include "format/base/mapped_file.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/tensor.h"

namespace ingot::test {

/// What the libraries that own the schemes dequantize (tests/golden/foreign/recover/make.py).
struct RecoverCases {
  RecoverCases() : file(INGOT_TEST_DATA "/golden/foreign/recover/cases.safetensors") {
    for (const convert::SafetensorsEntry& entry : convert::parse_safetensors(file.bytes(), "cases").entries)
      entries[entry.name] = entry;
  }
  [[nodiscard]] tensor::Tensor tensor(const std::string& name) const {
    const convert::SafetensorsEntry& entry = entries.at(name);
    tensor::Tensor made;
    made.name = name;
    made.shape = entry.shape;
    made.scheme = tensor::Scheme::plain(entry.type->type);
    const Bytes bytes = file.bytes().subspan(entry.begin, entry.size());
    made.planes = tensor::planes_in_memory({{bytes.begin(), bytes.end()}}, made.shape, made.scheme, made.packing);
    return made;
  }
  template <class T>
  [[nodiscard]] std::vector<T> get(const std::string& name) const {
    const convert::SafetensorsEntry& entry = entries.at(name);
    std::vector<T> values(entry.size() / sizeof(T));
    std::memcpy(values.data(), file.bytes().data() + entry.begin, entry.size());
    return values;
  }

  MappedFile file;
  std::map<std::string, convert::SafetensorsEntry> entries;
};

[[nodiscard]] inline tensor::Tensor plain_tensor(const tensor::Shape& shape, const std::vector<float>& values,
                                                 tensor::DType type = tensor::DType::f32) {
  tensor::Tensor made;
  made.name = "t";
  made.shape = shape;
  made.scheme = tensor::Scheme::plain(type);
  std::vector<std::byte> bytes(values.size() * tensor::bits(type) / 8);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (type == tensor::DType::f32) {
      std::memcpy(bytes.data() + 4 * i, &values[i], 4);
    } else {
      const std::uint16_t half =
          type == tensor::DType::f16 ? tensor::f32_to_f16(values[i]) : tensor::f32_to_bf16(values[i]);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
  }
  made.planes = tensor::planes_in_memory({std::move(bytes)}, shape, made.scheme, made.packing);
  return made;
}

}  // namespace ingot::test
