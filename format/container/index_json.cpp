// Index <-> JSON. Errors inside a tensor name the tensor; places are spelled out only when something is wrong, to keep
// opening fast.
#include <algorithm>
#include <array>

#include "format/container/chunk.h"
#include "format/container/index.h"
#include "format/container/limits.h"
#include "format/container/set.h"
#include "format/tensor/geometry.h"

namespace ingot::container {

const Json* Members::optional(std::string_view name) noexcept {
  for (const JsonMember& member : members_) {
    if (member.first == name) {
      ++taken_;
      return &member.second;
    }
  }
  return nullptr;
}

const Json& Members::required(std::string_view name) {
  if (const Json* value = optional(name)) return *value;
  throw Error(ErrorKind::invalid_value,
              std::string(where_) + ": expected a member \"" + std::string(name) + "\", got none");
}

void Members::finish() const {
  if (taken_ == members_.size()) return;
  throw Error(ErrorKind::invalid_value,
              std::string(where_) + ": " + std::to_string(members_.size() - taken_) + " unknown member(s)");
}

Hash128 hash_from_json(const Json& json, std::string_view what) {
  const std::string& text = json.as_string(what);
  const std::optional<Hash128> hash = Hash128::from_hex(text);
  if (!hash) {
    throw Error(ErrorKind::invalid_value,
                std::string(what) + ": expected 32 lower-case hexadecimal digits, got \"" + text + "\"");
  }
  return *hash;
}

namespace {

constexpr std::array<std::string_view, 11> kKnownMembers = {"aliases", "attachments", "chunk_bytes", "chunk_table",
                                                            "ingot",   "layout",      "metadata",    "model",
                                                            "set",     "source",      "tensors"};

/// Adds the place to an error from further inside.
template <class Call>
auto within(std::string_view where, std::string_view what, std::uint64_t number, const Call& call) {
  try {
    return call();
  } catch (const Error& error) {
    throw Error(error.kind,
                std::string(where) + ": " + std::string(what) + "[" + std::to_string(number) + "]: " + error.what());
  }
}

void check_count(std::uint64_t count, std::uint64_t limit, std::string_view what) {
  if (count > limit) {
    throw Error(ErrorKind::limit_exceeded,
                std::string(what) + ": expected at most " + std::to_string(limit) + ", got " + std::to_string(count));
  }
}

/// No null, no fraction, no number beyond 2^53-1, no overlong string, anywhere.
void check_values(const Json& json) {
  if (json.is_object()) {
    for (const JsonMember& member : json.as_object("")) {
      check_count(member.first.size(), kMaxStringBytes, "bytes of a member name");
      check_values(member.second);
    }
  } else if (json.is_array()) {
    for (const Json& element : json.as_array("")) check_values(element);
  } else if (json.is_string()) {
    check_count(json.as_string("").size(), kMaxStringBytes, "bytes of a string");
  } else if (json.is_integer()) {
    const double value = json.as_double("");
    if (value > static_cast<double>(kMaxInteger) || value < -static_cast<double>(kMaxInteger)) {
      throw Error(ErrorKind::invalid_value, "expected numbers of at most 2^53-1");
    }
  } else if (!json.is_bool()) {
    throw Error(ErrorKind::invalid_value,
                json.is_null() ? "expected no null" : "expected integers only, got a fraction or an exponent");
  }
}

std::map<std::string, std::string> strings_from_json(const Json& json, std::string_view what) {
  std::map<std::string, std::string> strings;
  for (const JsonMember& member : json.as_object(what)) strings.emplace(member.first, member.second.as_string(what));
  return strings;
}

Json strings_to_json(const std::map<std::string, std::string>& strings) {
  JsonObject members;
  for (const auto& [key, value] : strings) members.emplace_back(key, value);
  return Json(std::move(members));
}

Blob blob_from_json(Members& members) {
  Blob blob;
  blob.offset = members.required_u64("offset");
  blob.size = members.required_u64("size");
  blob.stored = blob.size;
  if (const Json* stored = members.optional("stored")) {
    blob.stored = stored->as_u64("stored");
    if (blob.stored >= blob.size || blob.stored == 0) {
      throw Error(ErrorKind::invalid_value, "stored: expected less than size " + std::to_string(blob.size) + ", got " +
                                                std::to_string(blob.stored));
    }
  }
  blob.first_chunk = members.required_u64("first_chunk");
  blob.hash = hash_from_json(members.required("hash"), "hash");
  return blob;
}

void blob_to_json(const Blob& blob, Json& json) {
  json.set("offset", blob.offset);
  json.set("size", blob.size);
  if (blob.stored != blob.size) json.set("stored", blob.stored);
  json.set("first_chunk", blob.first_chunk);
  json.set("hash", blob.hash.hex());
}

/// Most tensors of a model share a handful of schemes; each is parsed once.
class SchemeCache {
 public:
  const tensor::Scheme& parse(const Json& json) {
    for (const Entry& entry : entries_)
      if (*entry.json == json) return entry.scheme;
    if (entries_.size() == kEntries) entries_.erase(entries_.begin());
    entries_.push_back({&json, tensor::scheme_from_json(json, "scheme")});
    tensor::validate(entries_.back().scheme, "scheme");
    return entries_.back().scheme;
  }

 private:
  static constexpr std::size_t kEntries = 16;
  struct Entry {
    const Json* json;
    tensor::Scheme scheme;
  };
  std::vector<Entry> entries_;
};

tensor::Packing packing_from_json(const Json& json) {
  const std::string& text = json.as_string("packing");
  for (const tensor::Packing packing : {tensor::Packing::rows, tensor::Packing::tiles})
    if (tensor::name(packing) == text) return packing;
  throw Error(ErrorKind::invalid_value, "packing: expected \"rows\" or \"tiles\", got \"" + text + "\"");
}

tensor::Shape shape_from_json(const Json& json) {
  const JsonArray& extents = json.as_array("shape");
  check_count(extents.size(), kMaxRank, "shape: dimensions");
  tensor::Shape shape;
  for (const Json& extent : extents) shape.push_back(extent.as_u64("shape"));
  return shape;
}

std::vector<Blob> planes_from_json(const Json& json, const tensor::Tensor& tensor) {
  const JsonArray& array = json.as_array("planes");
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (array.size() != specs.size()) {
    throw Error(ErrorKind::invalid_value,
                "planes: expected " + std::to_string(specs.size()) + ", got " + std::to_string(array.size()));
  }
  std::vector<Blob> planes;
  planes.reserve(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Members members(array[i], "plane");
    const std::string& role = members.required_string("role");
    if (role != specs[i].role) {
      throw Error(ErrorKind::invalid_value,
                  "planes[" + std::to_string(i) + "]: expected role " + specs[i].role + ", got " + role);
    }
    planes.push_back(blob_from_json(members));
    if (specs[i].sliced) planes[i].unit_bytes = specs[i].unit_bytes;
    members.finish();
    if (planes[i].size != specs[i].total_bytes) {
      throw Error(ErrorKind::invalid_value, "plane " + role + ": expected size " +
                                                std::to_string(specs[i].total_bytes) + ", got " +
                                                std::to_string(planes[i].size));
    }
    if (planes[i].stored != planes[i].size && !specs[i].sliced) {
      throw Error(ErrorKind::invalid_value, "plane " + role + ": whole planes are never compressed");
    }
  }
  return planes;
}

void tensor_from_json(const Json& json, SchemeCache& schemes, Index& index) {
  tensor::Tensor& tensor = index.model.tensors.emplace_back();
  Members members(json, "tensor");
  tensor.name = members.required_string("name");
  try {
    tensor.shape = shape_from_json(members.required("shape"));
    tensor.scheme = schemes.parse(members.required("scheme"));
    tensor.packing = packing_from_json(members.required("packing"));
    if (const Json* transforms = members.optional("transforms")) {
      check_count(transforms->as_array("transforms").size(), kMaxTransforms, "transforms");
      tensor.transforms = tensor::transforms_from_json(*transforms, "transforms");
      if (tensor.transforms.empty())
        throw Error(ErrorKind::invalid_value, "transforms: expected to be absent when empty");
    }
    if (const Json* derived = members.optional("derived")) {
      tensor.derived = derived->as_bool("derived");
      if (!tensor.derived) throw Error(ErrorKind::invalid_value, "derived: expected to be absent when false");
    }
    check_tensor(tensor);
    index.planes.push_back(planes_from_json(members.required("planes"), tensor));
    tensor.fingerprint = hash_from_json(members.required("fingerprint"), "fingerprint");
    members.finish();
  } catch (const Error& error) {
    throw Error(error.kind, "\"" + tensor.name + "\": " + error.what());
  }
}

Json tensor_to_json(const tensor::Tensor& tensor, const std::vector<Blob>& blobs) {
  Json json;
  json.set("name", tensor.name);
  JsonArray shape;
  for (const std::uint64_t extent : tensor.shape) shape.emplace_back(extent);
  json.set("shape", std::move(shape));
  json.set("scheme", tensor::to_json(tensor.scheme));
  json.set("packing", tensor::name(tensor.packing));
  JsonArray planes;
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    Json plane;
    plane.set("role", specs[i].role);
    blob_to_json(blobs[i], plane);
    planes.push_back(std::move(plane));
  }
  json.set("planes", std::move(planes));
  json.set("fingerprint", tensor.fingerprint.value_or(Hash128{}).hex());
  if (!tensor.transforms.empty()) json.set("transforms", tensor::to_json(tensor.transforms));
  if (tensor.derived) json.set("derived", true);
  return json;
}

void attachments_from_json(const Json& json, std::string_view where, Index& index) {
  const JsonArray& array = json.as_array(where);
  check_count(array.size(), kMaxAttachments, "attachments");
  for (std::size_t i = 0; i < array.size(); ++i) {
    within(where, "attachments", i, [&] {
      Members members(array[i], "attachment");
      index.model.attachments.push_back({members.required_string("name"), {}, nullptr});
      index.attachments.push_back(blob_from_json(members));
      members.finish();
      if (index.attachments.back().stored != index.attachments.back().size) {
        throw Error(ErrorKind::invalid_value, "attachments are never compressed");
      }
    });
  }
}

void check_constants(const Json& json, std::string_view where) {
  const auto expect = [&](std::string_view name, std::uint64_t expected) {
    const std::uint64_t got = json.at(name, where).as_u64(name);
    if (got != expected) {
      throw Error(ErrorKind::invalid_value, std::string(where) + ": " + std::string(name) + ": expected " +
                                                std::to_string(expected) + ", got " + std::to_string(got));
    }
  };
  expect("ingot", 1);
  expect("chunk_bytes", kChunkBytes);
}

void chunk_table_from_json(const Json& json, std::string_view where, Index& index) {
  Members members(json, where);
  index.chunk_table_offset = members.required_u64("offset");
  index.chunk_table_rows = members.required_u64("rows");
  members.finish();
}

}  // namespace

Json parse_index_json(std::string_view text, std::string_view where) {
  const JsonLimits limits{kMaxIndexBytes, kMaxIndexDepth};
  Json json = parse_json(text, where, limits);
  (void)json.as_object(where);
  try {
    check_values(json);
  } catch (const Error& error) {
    throw Error(error.kind, std::string(where) + ": " + error.what());
  }
  return json;
}

Index parse_index(std::string_view text, std::string_view where) {
  const Json json = parse_index_json(text, where);
  check_constants(json, where);
  Index index;
  chunk_table_from_json(json.at("chunk_table", where), where, index);
  index.model.config = tensor::model_config_from_json(json.at("model", where), where);
  index.model.metadata = strings_from_json(json.at("metadata", where), "metadata");
  index.model.aliases = strings_from_json(json.at("aliases", where), "aliases");
  index.model.layout = json.at("layout", where).as_string("layout");
  if (const Json* source = json.find("source")) index.model.source = source_from_json(*source, where);
  if (const Json* set = json.find("set")) index.members = set_from_json(*set, where);
  attachments_from_json(json.at("attachments", where), where, index);

  const JsonArray& tensors = json.at("tensors", where).as_array("tensors");
  check_count(tensors.size(), kMaxTensors, "tensors");
  index.model.tensors.reserve(tensors.size());
  index.planes.reserve(tensors.size());
  SchemeCache schemes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    within(where, "tensors", i, [&] { tensor_from_json(tensors[i], schemes, index); });
  }
  for (const JsonMember& member : json.as_object(where)) {
    if (!std::binary_search(kKnownMembers.begin(), kKnownMembers.end(), member.first))
      index.unknown_members.push_back(member);
  }
  std::vector<std::uint64_t> attachment_bytes;
  for (const Blob& blob : index.attachments) attachment_bytes.push_back(blob.size);
  check_model(index.model, attachment_bytes, where);
  if (index.members.empty()) check_references(index.model, tensor_names(index.model), where);
  return index;
}

std::string index_text(const Json& index, std::string_view where) {
  std::string text = canonical_json(index);
  if (text.size() > kMaxIndexBytes) {
    throw Error(ErrorKind::limit_exceeded, std::string(where) + ": index: expected at most " +
                                               std::to_string(kMaxIndexBytes) + " bytes, got " +
                                               std::to_string(text.size()));
  }
  return text;
}

std::uint64_t max_index_bytes(const tensor::Tensor& tensor) {
  Blob blob;
  blob.offset = blob.size = blob.first_chunk = kMaxInteger;
  blob.stored = kMaxInteger - 1;
  const std::vector<Blob> planes(tensor.plane_specs().size(), blob);
  constexpr std::uint64_t kCommaBytes = 1;
  return canonical_json(tensor_to_json(tensor, planes)).size() + kCommaBytes;
}

std::string index_text(const Index& index, std::string_view where) {
  Json json(index.unknown_members);
  json.set("ingot", 1);
  json.set("chunk_bytes", kChunkBytes);
  Json table;
  table.set("offset", index.chunk_table_offset);
  table.set("rows", index.chunk_table_rows);
  json.set("chunk_table", std::move(table));
  const tensor::Model& model = index.model;
  json.set("model", tensor::to_json(model.config));
  json.set("metadata", strings_to_json(model.metadata));
  json.set("aliases", strings_to_json(model.aliases));
  json.set("layout", model.layout);
  if (model.source) json.set("source", source_to_json(*model.source));
  if (!index.members.empty()) json.set("set", set_to_json(index.members));
  JsonArray attachments;
  for (std::size_t i = 0; i < model.attachments.size(); ++i) {
    Json attachment;
    attachment.set("name", model.attachments[i].name);
    blob_to_json(index.attachments[i], attachment);
    attachments.push_back(std::move(attachment));
  }
  json.set("attachments", std::move(attachments));
  JsonArray tensors;
  tensors.reserve(model.tensors.size());
  for (std::size_t i = 0; i < model.tensors.size(); ++i)
    tensors.push_back(tensor_to_json(model.tensors[i], index.planes[i]));
  json.set("tensors", std::move(tensors));
  return index_text(json, where);
}

}  // namespace ingot::container
