// The JSON form of `inspect`: what overview.cpp shows, complete and unfolded.
#include "inspect/overview.h"

#include <array>

#include "format/base/utf8.h"

namespace ingot::inspect {
namespace {

using tensor::Tensor;

constexpr std::array<std::string_view, 4> kTokenizerKinds = {"byte_bpe", "char_bpe", "spm_bpe", "unigram"};

Json tokenizer_json(const tensor::TokenizerSpec& spec) {
  Json json;
  json.set("kind", kTokenizerKinds[static_cast<std::size_t>(spec.kind)]);
  json.set("tokens", static_cast<std::uint64_t>(spec.tokens.size()));
  json.set("merges", static_cast<std::uint64_t>(spec.merges.size()));
  json.set("added_tokens", static_cast<std::uint64_t>(spec.added.size()));
  json.set("chat_template", !spec.chat_template.empty());
  if (spec.bos) json.set("bos", static_cast<std::uint64_t>(*spec.bos));
  if (spec.eos) json.set("eos", static_cast<std::uint64_t>(*spec.eos));
  return json;
}

Json members_json(const std::vector<container::SetMember>& members) {
  Json json(JsonArray{});
  for (const container::SetMember& member : members) {
    Json entry;
    entry.set("path", to_valid_utf8(member.path));
    entry.set("root", member.root.hex());
    entry.set("tensors", member.tensors);
    json.push_back(std::move(entry));
  }
  return json;
}

Json file_json(const container::FileFacts& file) {
  Json json;
  json.set("file_bytes", file.file_bytes);
  json.set("index_bytes", file.index_bytes);
  json.set("data_bytes", file.data_bytes);
  json.set("dead_bytes", file.dead_bytes);
  json.set("generation", file.generation);
  json.set("read_version", static_cast<std::uint64_t>(file.read_version));
  json.set("write_version", static_cast<std::uint64_t>(file.write_version));
  json.set("required_features", file.required_features);
  json.set("optional_features", file.optional_features);
  json.set("root", file.root.hex());
  json.set("data_root", file.data_root.hex());
  if (!file.members.empty()) json.set("members", members_json(file.members));
  return json;
}

Json source_json(const tensor::Source& source) {
  Json files(JsonArray{});
  for (const tensor::SourceFile& file : source.files) {
    Json entry;
    entry.set("path", to_valid_utf8(file.path));
    entry.set("size", file.size);
    if (file.hash != Hash128{}) entry.set("hash", file.hash.hex());
    files.push_back(std::move(entry));
  }
  Json json;
  json.set("layout", source.layout);
  json.set("files", std::move(files));
  return json;
}

Json totals_json(const tensor::Model& model) {
  Json json(JsonArray{});
  for (const SchemeTotal& total : totals_by_scheme(model)) {
    Json entry;
    entry.set("scheme", total.scheme);
    entry.set("tensors", total.tensors);
    entry.set("elements", total.elements);
    entry.set("bytes", total.bytes);
    entry.set("bits_per_weight", bits_per_weight(total.bytes, total.elements));
    Json types(JsonArray{});
    for (const std::string& type : total.source_types) types.push_back(to_valid_utf8(type));
    entry.set("source_types", std::move(types));
    json.push_back(std::move(entry));
  }
  return json;
}

Json attachments_json(const tensor::Model& model) {
  Json json(JsonArray{});
  for (const tensor::Attachment& attachment : model.attachments) {
    Json entry;
    entry.set("name", to_valid_utf8(attachment.name));
    entry.set("size", static_cast<std::uint64_t>(attachment.bytes.size()));
    json.push_back(std::move(entry));
  }
  return json;
}

Json strings_json(const std::map<std::string, std::string>& map) {
  Json json(JsonObject{});
  for (const auto& [key, value] : map) json.set(to_valid_utf8(key), to_valid_utf8(value));
  return json;
}

}  // namespace

Json tensor_json(const Tensor& tensor) {
  Json shape(JsonArray{});
  for (const std::uint64_t extent : tensor.shape) shape.push_back(extent);
  const std::uint64_t bytes = tensor.stored_bytes(), elements = tensor.elements();
  Json json;
  json.set("name", to_valid_utf8(tensor.name));
  json.set("shape", std::move(shape));
  json.set("elements", elements);
  json.set("scheme_text", tensor::describe(tensor.scheme));
  json.set("scheme", tensor::to_json(tensor.scheme));
  json.set("packing", tensor::name(tensor.packing));
  json.set("bytes", bytes);
  json.set("bits_per_weight", bits_per_weight(bytes, elements));
  if (!tensor.transforms.empty()) json.set("transforms", tensor::to_json(tensor.transforms));
  if (tensor.derived) json.set("derived", true);
  if (tensor.fingerprint) json.set("fingerprint", tensor.fingerprint->hex());
  return json;
}

Json overview_json(const tensor::Model& model, const OverviewFacts& facts) {
  Json tensors(JsonArray{});
  for (const Tensor& tensor : model.tensors) tensors.push_back(tensor_json(tensor));
  Json json;
  json.set("path", to_valid_utf8(model.path.string()));
  json.set("layout", facts.layout);
  json.set("model", tensor::to_json(model.config));
  json.set("metadata", strings_json(model.metadata));
  if (model.tokenizer) json.set("tokenizer", tokenizer_json(*model.tokenizer));
  if (facts.file) json.set("file", file_json(*facts.file));
  if (model.source) json.set("source", source_json(*model.source));
  if (facts.fingerprint) json.set("fingerprint", facts.fingerprint->hex());
  Json findings(JsonArray{});
  for (const std::string& finding : model.findings) findings.push_back(to_valid_utf8(finding));
  json.set("findings", std::move(findings));
  json.set("aliases", strings_json(model.aliases));
  json.set("attachments", attachments_json(model));
  json.set("totals", totals_json(model));
  json.set("tensors", std::move(tensors));
  return json;
}

}  // namespace ingot::inspect
