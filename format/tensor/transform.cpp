// JSON form of the declared transforms. Implements spec/transforms.md.
#include "format/tensor/transform.h"

#include <array>

#include "format/base/error.h"

namespace ingot::tensor {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"rope_interleave", "transpose", "add_one"};
constexpr std::size_t kMaxTransforms = 4;

}  // namespace

std::string_view name(TransformKind kind) noexcept { return kNames[static_cast<std::size_t>(kind)]; }

Json to_json(const std::vector<Transform>& transforms) {
  JsonArray array;
  for (const Transform& transform : transforms) {
    Json json;
    json.set("kind", name(transform.kind));
    if (transform.kind == TransformKind::rope_interleave) json.set("heads", transform.heads);
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
      else if (member.first != "kind")
        throw Error(ErrorKind::invalid_value, at + ": unknown member \"" + member.first + "\"");
    }
    if (transform.kind == TransformKind::rope_interleave && transform.heads == 0) {
      throw Error(ErrorKind::invalid_value, at + ": rope_interleave needs heads >= 1");
    }
    transforms.push_back(transform);
  }
  return transforms;
}

}  // namespace ingot::tensor
