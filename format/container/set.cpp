#include "format/container/set.h"

#include <unordered_set>

#include "format/container/index.h"
#include "format/container/limits.h"

namespace ingot::container {
namespace {

constexpr std::string_view kExtension = ".ingot";

SetMember member_from_json(const Json& json) {
  constexpr std::string_view where = "member";
  Members fields(json, where);
  SetMember member{fields.required_string("path"), hash_from_json(fields.required("root"), "root"),
                   fields.required_u64("tensors")};
  fields.finish();
  check_relative_path(member.path, where);
  return member;
}

/// "out.ingot: member \"out-00001-of-00003.ingot\""
std::string place(const File& manifest, const SetMember& member) {
  return manifest.where + ": member \"" + member.path + "\"";
}

[[noreturn]] void invalid(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::invalid_value, where + ": " + what);
}

/// The file of the set that holds this tensor.
const std::string& owner_of(std::string_view name, const File& manifest,
                            const std::vector<std::shared_ptr<File>>& members) {
  for (const std::shared_ptr<File>& member : members)
    if (tensor_names(member->index.model).contains(name)) return member->where;
  return manifest.where;
}

}  // namespace

std::vector<SetMember> set_from_json(const Json& json, std::string_view where) {
  const std::string place = std::string(where) + ": set";
  Members fields(json, place);
  const JsonArray& array = fields.required("members").as_array(place);
  fields.finish();
  if (array.empty()) invalid(place, "expected at least one member, got none");
  if (array.size() > kMaxMembers) {
    throw Error(ErrorKind::limit_exceeded, place + ": expected at most " + std::to_string(kMaxMembers) +
                                               " members, got " + std::to_string(array.size()));
  }
  std::vector<SetMember> members;
  std::unordered_set<std::string_view> paths;
  members.reserve(array.size());  // `paths` views into it
  for (const Json& element : array) {
    try {
      members.push_back(member_from_json(element));
    } catch (const Error& error) {
      throw Error(error.kind, place + ": members[" + std::to_string(members.size()) + "]: " + error.what());
    }
    if (!paths.insert(members.back().path).second)
      invalid(place, "member \"" + members.back().path + "\" appears twice");
  }
  return members;
}

Json set_to_json(const std::vector<SetMember>& members) {
  JsonArray array;
  array.reserve(members.size());
  for (const SetMember& member : members) {
    Json json;
    json.set("path", member.path);
    json.set("root", member.root.hex());
    json.set("tensors", member.tensors);
    array.push_back(std::move(json));
  }
  Json json;
  json.set("members", std::move(array));
  return json;
}

std::shared_ptr<File> open_member(const File& manifest, const SetMember& member) {
  try {
    return open_file(manifest.mapping.path().parent_path() / member.path);
  } catch (const Error& error) {
    std::string message = manifest.where + ": a member of this set: " + error.what();
    if (error.kind == ErrorKind::io) message += " (the files of a set lie beside its manifest and are moved together)";
    throw Error(error.kind, message, error.offset);
  }
}

void check_member(const File& manifest, const SetMember& member, const File& file) {
  const std::string where = place(manifest, member);
  if (!file.index.members.empty()) invalid(where, "is a manifest itself; sets do not nest");
  const Hash128 root = file.header.current.index_hash;
  if (root != member.root) {
    throw Error(ErrorKind::mismatch,
                where + ": not the file that the set was written with (expected root " + member.root.hex() + ", got " +
                    root.hex() +
                    "); bring the original back, or take back what was edited in it (`ingot edit` with "
                    "--set and the old value, or --unset): metadata of a set belong in its manifest");
  }
  const std::uint64_t tensors = file.index.model.tensors.size();
  if (tensors != member.tensors)
    invalid(where, "expected " + std::to_string(member.tensors) + " tensors, got " + std::to_string(tensors));
  if (!file.index.model.aliases.empty() || !file.index.model.attachments.empty() || file.index.model.source)
    invalid(where, "expected no aliases, attachments or source: those of a set are in its manifest");
}

void check_set(const File& manifest, const std::vector<std::shared_ptr<File>>& members) {
  TensorNames names = tensor_names(manifest.index.model);
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (const tensor::Tensor& tensor : members[i]->index.model.tensors) {
      if (names.insert(tensor.name).second) continue;
      const std::vector<std::shared_ptr<File>> before(members.begin(),
                                                      members.begin() + static_cast<std::ptrdiff_t>(i));
      invalid(manifest.where, "tensor \"" + tensor.name + "\" appears twice: in " +
                                  owner_of(tensor.name, manifest, before) + " and in " + members[i]->where);
    }
    if (names.size() > kMaxTensors) {
      throw Error(ErrorKind::limit_exceeded,
                  manifest.where + ": expected at most " + std::to_string(kMaxTensors) + " tensors in all members");
    }
  }
  check_references(manifest.index.model, names, manifest.where);
}

std::string member_file_name(std::string_view manifest_name, std::size_t number, std::size_t count) {
  if (manifest_name.ends_with(kExtension)) manifest_name.remove_suffix(kExtension.size());
  const auto five_digits = [](std::size_t value) {
    std::string text = std::to_string(value);
    while (text.size() < 5) text.insert(text.begin(), '0');
    return text;
  };
  return std::string(manifest_name) + "-" + five_digits(number) + "-of-" + five_digits(count) + std::string(kExtension);
}

}  // namespace ingot::container
