// What a pickle of torch.save may refer to, as a list: tensors, their storages, types, and the containers around them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "converters/files/pickle.h"
#include "format/tensor/geometry.h"

namespace ingot::convert {

/// Mentions of tensors, and of storages, in one pickle.
inline constexpr std::size_t kMaxPickleTensors = std::size_t{1} << 17;

/// One element type of torch. `type` is empty for those that Ingot has no counterpart of.
struct TorchType {
  std::string_view name;     // "float16", a member of torch
  std::string_view storage;  // "HalfStorage"; empty for types that are stored untyped
  std::optional<tensor::DType> type;
  std::uint8_t element_bytes;
};

struct TorchStorage {
  std::string_view key;   // borrowed from the file
  const TorchType* type;  // null: untyped, elements are bytes
  std::uint64_t elements = 0;
  [[nodiscard]] std::uint64_t element_bytes() const noexcept { return type != nullptr ? type->element_bytes : 1; }
};

struct TorchTensor {
  std::size_t storage = 0;  // index in TorchObjects::storages
  const TorchType* type = nullptr;
  std::uint64_t first = 0;  // element of the storage
  tensor::Shape shape;
  std::vector<std::uint64_t> strides;  // in elements, one per extent
};

/// Collects what the pickle makes. Everything outside the list is an Error, nothing is ever executed.
class TorchObjects final : public PickleRules {
 public:
  enum Tag : std::uint8_t { kStorage, kTensor, kOther };

  [[nodiscard]] std::int64_t global(std::string_view module, std::string_view name) const override;
  [[nodiscard]] PickleValue call(const Pickle& pickle, std::int64_t function, std::span<const PickleIndex> arguments,
                                 const std::string& where) override;
  [[nodiscard]] PickleValue persistent(const Pickle& pickle, const PickleValue& id, const std::string& where) override;

  std::vector<TorchStorage> storages;  // one per mention
  std::vector<TorchTensor> tensors;    // one per mention; their elements lie inside the storage as it was announced
};

}  // namespace ingot::convert
