#include "converters/files/torch_objects.h"

#include <array>

#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Kind = PickleValue::Kind;
using tensor::DType;

constexpr std::size_t kMaxRank = 8;
constexpr std::uint64_t kMaxExtent = (std::uint64_t{1} << 53) - 1;
/// Elements of a tensor that repeats those of its storage (expand(), stride 0).
constexpr std::uint64_t kMaxRepeatedElements = std::uint64_t{1} << 24;

constexpr std::array<TorchType, 22> kTypes = {{
    {"float64", "DoubleStorage", DType::f64, 8},
    {"float32", "FloatStorage", DType::f32, 4},
    {"float16", "HalfStorage", DType::f16, 2},
    {"bfloat16", "BFloat16Storage", DType::bf16, 2},
    {"int64", "LongStorage", DType::i64, 8},
    {"int32", "IntStorage", DType::i32, 4},
    {"int16", "ShortStorage", DType::i16, 2},
    {"int8", "CharStorage", DType::i8, 1},
    {"uint8", "ByteStorage", DType::u8, 1},
    {"bool", "BoolStorage", DType::boolean, 1},
    {"complex64", "ComplexFloatStorage", DType::c64, 8},
    {"complex128", "ComplexDoubleStorage", std::nullopt, 16},
    {"uint16", "", DType::u16, 2},
    {"uint32", "", DType::u32, 4},
    {"uint64", "", DType::u64, 8},
    {"float8_e4m3fn", "", DType::e4m3, 1},
    {"float8_e5m2", "", DType::e5m2, 1},
    {"float8_e4m3fnuz", "", DType::e4m3fnuz, 1},
    {"float8_e5m2fnuz", "", DType::e5m2fnuz, 1},
    {"float8_e8m0fnu", "", DType::e8m0, 1},
    {"float4_e2m1fn_x2", "", std::nullopt, 1},
    {"complex32", "", std::nullopt, 4},
}};

enum class Role : std::uint8_t {
  ordered_dict,
  tensor,
  typed_tensor,
  parameter,
  from_type,
  plain_type,
  size,
  other,
  untyped
};
struct Global {
  std::string_view module, name;
  Role role;
};
constexpr std::array<Global, 20> kGlobals = {{
    {"collections", "OrderedDict", Role::ordered_dict},
    {"torch._utils", "_rebuild_tensor", Role::tensor},
    {"torch._utils", "_rebuild_tensor_v2", Role::tensor},
    {"torch._utils", "_rebuild_tensor_v3", Role::typed_tensor},
    {"torch._utils", "_rebuild_parameter", Role::parameter},
    {"torch._utils", "_rebuild_parameter_with_state", Role::parameter},
    {"torch._tensor", "_rebuild_from_type_v2", Role::from_type},
    {"torch", "Tensor", Role::plain_type},
    {"torch.nn.parameter", "Parameter", Role::plain_type},
    {"torch.nn.parameter", "Buffer", Role::plain_type},
    {"torch", "Size", Role::size},
    {"torch", "device", Role::other},
    {"_codecs", "encode", Role::other},
    {"builtins", "set", Role::other},
    {"__builtin__", "set", Role::other},
    {"builtins", "bytearray", Role::other},
    {"__builtin__", "bytearray", Role::other},
    {"builtins", "complex", Role::other},
    {"torch.storage", "UntypedStorage", Role::untyped},
    {"torch", "UntypedStorage", Role::untyped},
}};

// Numbers of globals: first kGlobals, then types as torch.dtype, then types as storage classes.
constexpr std::int64_t kFirstType = kGlobals.size(),
                       kFirstStorage = kFirstType + static_cast<std::int64_t>(kTypes.size());

const Global* function_row(std::int64_t number) noexcept {
  return number < kFirstType ? &kGlobals[static_cast<std::size_t>(number)] : nullptr;
}
const TorchType* dtype_row(const PickleValue& value) noexcept {
  if (value.kind != Kind::global || value.number < kFirstType || value.number >= kFirstStorage) return nullptr;
  return &kTypes[static_cast<std::size_t>(value.number - kFirstType)];
}

/// Reads the arguments of one call or the fields of one persistent id.
class Fields {
 public:
  Fields(const Pickle& pickle, std::span<const PickleIndex> items, const std::string& where)
      : pickle_(pickle), items_(items), where_(where) {}

  [[noreturn]] void fail(const std::string& what, ErrorKind kind = ErrorKind::invalid_value) const {
    throw Error(kind, where_ + ": " + what);
  }
  [[nodiscard]] std::string place(std::string_view what) const { return where_ + ": " + std::string(what); }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }
  [[nodiscard]] const PickleValue& at(std::size_t i) const {
    if (i >= items_.size())
      fail("a call with " + std::to_string(items_.size()) + " arguments, expected at least " + std::to_string(i + 1));
    return pickle_.at(items_[i]);
  }
  [[nodiscard]] std::uint64_t count(std::size_t i, std::string_view what) const { return number(at(i), what); }
  [[nodiscard]] std::vector<std::uint64_t> counts(std::size_t i, std::string_view what) const {
    const PickleValue& value = at(i);
    if (value.kind != Kind::tuple) fail(std::string(what) + " is no tuple");
    if (value.item_count > kMaxRank) {
      fail(std::string(what) + " has " + std::to_string(value.item_count) + " extents, limit " +
               std::to_string(kMaxRank),
           ErrorKind::limit_exceeded);
    }
    std::vector<std::uint64_t> result;
    for (const PickleIndex item : pickle_.items(value)) result.push_back(number(pickle_.at(item), what));
    return result;
  }
  [[nodiscard]] std::span<const PickleIndex> tuple(std::size_t i, std::string_view what) const {
    const PickleValue& value = at(i);
    if (value.kind != Kind::tuple) fail(std::string(what) + " is no tuple");
    return pickle_.items(value);
  }

 private:
  [[nodiscard]] std::uint64_t number(const PickleValue& value, std::string_view what) const {
    if (value.kind != Kind::integer || value.number < 0) fail(std::string(what) + " is no count");
    if (static_cast<std::uint64_t>(value.number) > kMaxExtent)
      fail(std::string(what) + " " + std::to_string(value.number) + " is above 2^53 - 1", ErrorKind::limit_exceeded);
    return static_cast<std::uint64_t>(value.number);
  }

  const Pickle& pickle_;
  std::span<const PickleIndex> items_;
  const std::string& where_;
};

/// The last element must lie inside the storage; a tensor may not be much larger than what it repeats.
void check_extent(const TorchTensor& tensor, const TorchStorage& storage, const Fields& fields) {
  const std::uint64_t elements = checked_product(tensor.shape, fields.place("elements of a tensor"));
  const auto too_many = [&] {
    fields.fail("a tensor of " + std::to_string(elements) + " elements", ErrorKind::limit_exceeded);
  };
  if (elements > kMaxExtent) too_many();
  if (elements == 0) return;
  const std::string place = fields.place("last element of a tensor");
  std::uint64_t last = tensor.first;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i)
    last = checked_add(last, checked_mul(tensor.shape[i] - 1, tensor.strides[i], place), place);
  const std::uint64_t end_bytes = checked_mul(checked_add(last, 1, place), tensor.type->element_bytes, place);
  const std::uint64_t storage_bytes = checked_mul(storage.elements, storage.element_bytes(), place);
  if (end_bytes > storage_bytes) {
    fields.fail("a tensor ends at byte " + std::to_string(end_bytes) + " of its storage '" + std::string(storage.key) +
                "', which has " + std::to_string(storage_bytes));
  }
  if (elements > kMaxRepeatedElements && elements > storage_bytes / tensor.type->element_bytes) too_many();
}

TorchTensor tensor_of(const Fields& fields, const TorchObjects& objects, bool typed) {
  const PickleValue& storage = fields.at(0);
  if (storage.kind != Kind::object || storage.tag != TorchObjects::kStorage)
    fields.fail("a tensor is made of something that is no storage");
  TorchTensor tensor;
  tensor.storage = static_cast<std::size_t>(storage.number);
  const TorchStorage& stored = objects.storages[tensor.storage];
  constexpr std::size_t kTypeArgument = 6;
  tensor.type = typed ? dtype_row(fields.at(kTypeArgument)) : stored.type;
  if (tensor.type == nullptr) fields.fail("a tensor without an element type");
  tensor.first = fields.count(1, "offset in the storage");
  tensor.shape = fields.counts(2, "shape");
  tensor.strides = fields.counts(3, "strides");
  if (tensor.strides.size() != tensor.shape.size())
    fields.fail(std::to_string(tensor.shape.size()) + " extents and " + std::to_string(tensor.strides.size()) +
                " strides");
  const std::size_t metadata = typed ? kTypeArgument + 1 : kTypeArgument;
  if (fields.size() > metadata && fields.at(metadata).kind == Kind::dict && fields.at(metadata).item_count > 0)
    fields.fail("a tensor with its negative or conjugate bit set is not read", ErrorKind::unsupported);
  check_extent(tensor, stored, fields);
  return tensor;
}

}  // namespace

std::int64_t TorchObjects::global(std::string_view module, std::string_view name) const {
  for (std::size_t i = 0; i < kGlobals.size(); ++i)
    if (kGlobals[i].module == module && kGlobals[i].name == name) return static_cast<std::int64_t>(i);
  if (module != "torch" && module != "torch.cuda") return -1;
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (module == "torch" && kTypes[i].name == name) return kFirstType + static_cast<std::int64_t>(i);
    if (!kTypes[i].storage.empty() && kTypes[i].storage == name) return kFirstStorage + static_cast<std::int64_t>(i);
  }
  return -1;
}

PickleValue TorchObjects::call(const Pickle& pickle, std::int64_t function, std::span<const PickleIndex> arguments,
                               const std::string& where) {
  const Fields fields(pickle, arguments, where);
  const Global* row = function_row(function);
  if (row == nullptr)
    fields.fail("calls an element type or a storage class; nothing was executed", ErrorKind::unsupported);
  switch (row->role) {
    case Role::ordered_dict:
      if (!arguments.empty()) fields.fail("an OrderedDict made of arguments is not read", ErrorKind::unsupported);
      return {.kind = Kind::dict};
    case Role::tensor:
    case Role::typed_tensor:
      if (tensors.size() >= kMaxPickleTensors) fields.fail("too many tensors", ErrorKind::limit_exceeded);
      tensors.push_back(tensor_of(fields, *this, row->role == Role::typed_tensor));
      return {.kind = Kind::object, .tag = kTensor, .number = static_cast<std::int64_t>(tensors.size() - 1)};
    case Role::parameter: {
      const PickleValue& data = fields.at(0);
      if (data.kind != Kind::object || data.tag != kTensor) fields.fail("a parameter that is no tensor");
      return data;
    }
    case Role::from_type: {
      const PickleValue &inner = fields.at(0), &type = fields.at(1);
      const Global* made_by = inner.kind == Kind::global ? function_row(inner.number) : nullptr;
      const Global* made_as = type.kind == Kind::global ? function_row(type.number) : nullptr;
      const bool known =
          made_by != nullptr && made_as != nullptr && made_as->role == Role::plain_type &&
          (made_by->role == Role::tensor || made_by->role == Role::typed_tensor || made_by->role == Role::parameter);
      if (!known) fields.fail("a tensor of a class of its own is not read", ErrorKind::unsupported);
      return call(pickle, inner.number, fields.tuple(2, "arguments"), where);
    }
    case Role::size: {
      const PickleValue& all = pickle.at(arguments.empty() ? 0 : arguments[0]);
      return {.kind = Kind::tuple, .first_item = all.first_item, .item_count = all.item_count};
    }
    case Role::other: return {.kind = Kind::object, .tag = kOther};
    case Role::plain_type:
    case Role::untyped: break;
  }
  fields.fail("calls " + std::string(row->module) + "." + std::string(row->name) + "; nothing was executed",
              ErrorKind::unsupported);
}

PickleValue TorchObjects::persistent(const Pickle& pickle, const PickleValue& id, const std::string& where) {
  const Fields fields(pickle, pickle.items(id), where);
  if (id.kind != Kind::tuple || fields.at(0).text() != "storage")
    fields.fail("a persistent id that is no storage", ErrorKind::unsupported);
  const PickleValue& type = fields.at(1);
  TorchStorage storage{};
  const Global* untyped = type.kind == Kind::global ? function_row(type.number) : nullptr;
  if (type.kind == Kind::global && type.number >= kFirstStorage) {
    storage.type = &kTypes[static_cast<std::size_t>(type.number - kFirstStorage)];
  } else if (untyped == nullptr || untyped->role != Role::untyped) {
    fields.fail("a storage of an unknown class");
  }
  if (fields.at(2).kind != Kind::text) fields.fail("the key of a storage is no string");
  storage.key = fields.at(2).text();
  storage.elements = fields.count(4, "elements of a storage");
  if (fields.size() > 5 && fields.at(5).kind != Kind::none)
    fields.fail("a view of another storage (written by PyTorch before 0.4) is not read", ErrorKind::unsupported);
  if (storages.size() >= kMaxPickleTensors) fields.fail("too many storages", ErrorKind::limit_exceeded);
  storages.push_back(storage);
  return {.kind = Kind::object, .tag = kStorage, .number = static_cast<std::int64_t>(storages.size() - 1)};
}

}  // namespace ingot::convert
