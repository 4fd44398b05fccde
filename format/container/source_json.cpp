// The restore recipe <-> JSON. Implements spec/restore.md section 2.
#include <array>

#include "format/container/index.h"
#include "format/container/limits.h"

namespace ingot::container {
namespace {

using tensor::Segment;
using tensor::SourceFile;

constexpr std::array<std::string_view, 3> kKindNames = {"literal", "tensor", "zeros"};  // by Segment::Kind

Segment segment_from_json(const Json& json, std::string_view where) {
  Members members(json, where);
  Segment segment;
  const std::string& kind = members.required_string("kind");
  segment.size = members.required_u64("size");
  if (kind == kKindNames[0]) {
    segment.kind = Segment::Kind::literal;
    segment.attachment = members.required_string("attachment");
    segment.begin = members.required_u64("begin");
  } else if (kind == kKindNames[1]) {
    segment.kind = Segment::Kind::tensor;
    segment.tensor = members.required_string("tensor");
    segment.part = members.required_string("part");
  } else if (kind == kKindNames[2]) {
    segment.kind = Segment::Kind::zeros;
  } else {
    throw Error(ErrorKind::invalid_value,
                std::string(where) + ": segment kind: expected literal, tensor or zeros, got \"" + kind + "\"");
  }
  members.finish();
  return segment;
}

Json segment_to_json(const Segment& segment) {
  Json json;
  json.set("kind", kKindNames[static_cast<std::size_t>(segment.kind)]);
  json.set("size", segment.size);
  if (segment.kind == Segment::Kind::literal) {
    json.set("attachment", segment.attachment);
    json.set("begin", segment.begin);
  } else if (segment.kind == Segment::Kind::tensor) {
    json.set("tensor", segment.tensor);
    json.set("part", segment.part);
  }
  return json;
}

SourceFile::Patch patch_from_json(const Json& json, std::string_view where) {
  Members members(json, where);
  SourceFile::Patch patch{members.required_u64("offset"), members.required_string("attachment"),
                          members.required_u64("begin"), members.required_u64("size")};
  members.finish();
  return patch;
}

Json patch_to_json(const SourceFile::Patch& patch) {
  Json json;
  json.set("offset", patch.offset);
  json.set("attachment", patch.attachment);
  json.set("begin", patch.begin);
  json.set("size", patch.size);
  return json;
}

SourceFile file_from_json(const Json& json, std::string_view where) {
  Members members(json, where);
  SourceFile file;
  file.path = members.required_string("path");
  file.size = members.required_u64("size");
  file.hash = hash_from_json(members.required("hash"), std::string(where) + ": source file hash");
  for (const Json& segment : members.required("segments").as_array(where))
    file.segments.push_back(segment_from_json(segment, where));
  if (const Json* patches = members.optional("patches")) {
    for (const Json& patch : patches->as_array(where)) file.patches.push_back(patch_from_json(patch, where));
    if (file.patches.empty())
      throw Error(ErrorKind::invalid_value, std::string(where) + ": patches: expected to be absent when empty");
  }
  members.finish();
  return file;
}

Json file_to_json(const SourceFile& file) {
  Json json;
  json.set("path", file.path);
  json.set("size", file.size);
  json.set("hash", file.hash.hex());
  JsonArray segments;
  for (const Segment& segment : file.segments) segments.push_back(segment_to_json(segment));
  json.set("segments", std::move(segments));
  if (!file.patches.empty()) {
    JsonArray patches;
    for (const SourceFile::Patch& patch : file.patches) patches.push_back(patch_to_json(patch));
    json.set("patches", std::move(patches));
  }
  return json;
}

}  // namespace

tensor::Source source_from_json(const Json& json, std::string_view where) {
  Members members(json, where);
  tensor::Source source;
  source.layout = members.required_string("layout");
  for (const Json& file : members.required("files").as_array(where))
    source.files.push_back(file_from_json(file, where));
  members.finish();
  return source;
}

Json source_to_json(const tensor::Source& source) {
  Json json;
  json.set("layout", source.layout);
  JsonArray files;
  for (const SourceFile& file : source.files) files.push_back(file_to_json(file));
  json.set("files", std::move(files));
  return json;
}

}  // namespace ingot::container
