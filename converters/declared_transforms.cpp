// The text of declared transforms.
#include "converters/declared_transforms.h"

#include "format/base/error.h"
#include "format/base/json.h"

namespace ingot::convert {
namespace {

using tensor::Transform;
using tensor::TransformKind;

constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kMostOfATensor = 2;

bool fits(const Transform& transform, const tensor::Shape& shape) {
  const bool of_rows = transform.kind == TransformKind::row_order;
  if (shape.size() != 2 && !(of_rows && shape.size() == 1)) return false;
  return transform.order->size() == shape[of_rows ? 0 : 1];
}

std::vector<tensor::Permutation> permutations_of(const Json& json, const std::string& where) {
  std::vector<tensor::Permutation> orders;
  for (const Json& entry : json.as_array(where)) {
    const std::string at = where + "[" + std::to_string(orders.size()) + "]";
    orders.push_back(tensor::permutation_from_json(entry, at));
  }
  return orders;
}

Transform transform_of(const Json& json, const std::vector<tensor::Permutation>& orders, const std::string& where) {
  const std::uint64_t index = json.at("order", where).as_u64(where + ".order");
  const std::string& kind = json.at("kind", where).as_string(where + ".kind");
  for (const TransformKind known : {TransformKind::row_order, TransformKind::column_order})
    if (index < orders.size() && tensor::name(known) == kind) return {known, 0, orders[index]};
  throw Error(ErrorKind::invalid_value, where + ": no transform \"" + kind + "\" with order " + std::to_string(index) +
                                            " of " + std::to_string(orders.size()));
}

}  // namespace

std::string declaration_text(const Declaration& declaration) {
  std::vector<tensor::Permutation> orders;
  Json tensors{JsonObject{}};
  for (const auto& [name, transforms] : declaration) {
    JsonArray list;
    for (const Transform& transform : transforms) {
      std::size_t index = 0;
      while (index < orders.size() && *orders[index] != *transform.order) ++index;
      if (index == orders.size()) orders.push_back(transform.order);
      Json json;
      json.set("kind", tensor::name(transform.kind));
      json.set("order", static_cast<std::uint64_t>(index));
      list.push_back(std::move(json));
    }
    tensors.set(name, std::move(list));
  }
  JsonArray tables;
  for (const tensor::Permutation& order : orders) {
    JsonArray table;
    for (const std::uint32_t index : *order) table.emplace_back(index);
    tables.push_back(std::move(table));
  }
  Json text;
  text.set("ingot_transforms", kVersion);
  text.set("orders", std::move(tables));
  text.set("tensors", std::move(tensors));
  return canonical_json(text);
}

void apply_declaration(std::string_view text, std::string_view where, tensor::Model& model) {
  const std::string place(where);
  const Json json = parse_json(text, where);
  const std::uint64_t version = json.at("ingot_transforms", where).as_u64(place + ": ingot_transforms");
  if (version != kVersion)
    throw Error(ErrorKind::unsupported, place + ": version " + std::to_string(version) + ", expected 1");
  const std::vector<tensor::Permutation> orders = permutations_of(json.at("orders", where), place + ": orders");
  std::map<std::string_view, tensor::Tensor*> by_name;
  for (tensor::Tensor& tensor : model.tensors) by_name.emplace(tensor.name, &tensor);
  for (const auto& [name, list] : json.at("tensors", where).as_object(place + ": tensors")) {
    const std::string at = place + ": tensor '" + name + "'";
    const auto found = by_name.find(name);
    if (found == by_name.end()) throw Error(ErrorKind::invalid_value, at + " is not in the checkpoint");
    std::vector<Transform> transforms;
    if (list.as_array(at).size() > kMostOfATensor)
      throw Error(ErrorKind::limit_exceeded, at + ": " + std::to_string(list.as_array(at).size()) +
                                                 " transforms, at most " + std::to_string(kMostOfATensor));
    for (const Json& entry : list.as_array(at)) {
      transforms.push_back(transform_of(entry, orders, at));
      const Transform& transform = transforms.back();
      if (!fits(transform, found->second->shape)) {
        throw Error(ErrorKind::invalid_value,
                    at + ": " + std::string(tensor::name(transform.kind)) + " does not fit its shape");
      }
    }
    std::vector<Transform>& own = found->second->transforms;
    own.insert(own.begin(), transforms.begin(), transforms.end());
  }
}

}  // namespace ingot::convert
