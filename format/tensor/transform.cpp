// JSON form of the declared transforms. Implements spec/transforms.md.
#include "format/tensor/transform.h"

#include <array>
#include <limits>

#include "format/base/error.h"

namespace ingot::tensor {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"rope_interleave", "transpose", "add_one", "row_order",
                                                    "column_order"};
constexpr std::size_t kMaxTransforms = 4;

bool has_order(TransformKind kind) noexcept {
  return kind == TransformKind::row_order || kind == TransformKind::column_order;
}

}  // namespace

std::string_view name(TransformKind kind) noexcept { return kNames[static_cast<std::size_t>(kind)]; }

Permutation permutation_from_json(const Json& json, const std::string& where) {
  std::vector<std::uint32_t> order;
  for (const Json& entry : json.as_array(where)) {
    const std::uint64_t value = entry.as_u64(where);
    if (value > std::numeric_limits<std::uint32_t>::max())
      throw Error(ErrorKind::invalid_value, where + ": " + std::to_string(value) + " is no index of a permutation");
    order.push_back(static_cast<std::uint32_t>(value));
  }
  if (!is_permutation(order)) {
    throw Error(ErrorKind::invalid_value,
                where + ": its " + std::to_string(order.size()) + " entries are no permutation");
  }
  return std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
}

bool Transform::operator==(const Transform& other) const noexcept {
  if (kind != other.kind || heads != other.heads) return false;
  return order == other.order || (order != nullptr && other.order != nullptr && *order == *other.order);
}

bool is_permutation(std::span<const std::uint32_t> order) {
  std::vector<bool> seen(order.size());
  for (const std::uint32_t index : order) {
    if (index >= order.size() || seen[index]) return false;
    seen[index] = true;
  }
  return true;
}

std::vector<std::uint32_t> inverse_of(std::span<const std::uint32_t> order) {
  std::vector<std::uint32_t> inverse(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) inverse[order[k]] = static_cast<std::uint32_t>(k);
  return inverse;
}

Json to_json(const std::vector<Transform>& transforms) {
  JsonArray array;
  for (const Transform& transform : transforms) {
    Json json;
    json.set("kind", name(transform.kind));
    if (transform.kind == TransformKind::rope_interleave) json.set("heads", transform.heads);
    if (transform.order != nullptr) {
      JsonArray order;
      order.reserve(transform.order->size());
      for (const std::uint32_t index : *transform.order) order.emplace_back(index);
      json.set("order", std::move(order));
    }
    array.push_back(std::move(json));
  }
  return array;
}

std::vector<Transform> transforms_from_json(const Json& json, std::string_view where) {
  const JsonArray& array = json.as_array(where);
  if (array.size() > kMaxTransforms) {
    throw Error(ErrorKind::limit_exceeded,
                std::string(where) + ": " + std::to_string(array.size()) + " transforms, limit 4");
  }
  std::vector<Transform> transforms;
  for (std::size_t i = 0; i < array.size(); ++i) {
    const std::string at = std::string(where) + "[" + std::to_string(i) + "]";
    const std::string& kind = array[i].at("kind", at).as_string(at + ".kind");
    std::size_t known = 0;
    while (known < kNames.size() && kNames[known] != kind) ++known;
    if (known == kNames.size()) throw Error(ErrorKind::invalid_value, at + ": unknown transform \"" + kind + "\"");
    Transform transform{static_cast<TransformKind>(known), 0};
    for (const JsonMember& member : array[i].as_object(at)) {
      const bool is_heads = member.first == "heads" && transform.kind == TransformKind::rope_interleave;
      if (is_heads)
        transform.heads = member.second.as_u64(at + ".heads");
      else if (member.first == "order" && has_order(transform.kind))
        transform.order = permutation_from_json(member.second, at + ".order");
      else if (member.first != "kind")
        throw Error(ErrorKind::invalid_value, at + ": unknown member \"" + member.first + "\"");
    }
    if (transform.kind == TransformKind::rope_interleave && transform.heads == 0) {
      throw Error(ErrorKind::invalid_value, at + ": rope_interleave needs heads >= 1");
    }
    if (has_order(transform.kind) && transform.order == nullptr)
      throw Error(ErrorKind::invalid_value, at + ": " + kind + " needs order");
    transforms.push_back(std::move(transform));
  }
  return transforms;
}

}  // namespace ingot::tensor
