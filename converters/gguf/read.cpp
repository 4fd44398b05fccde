// From parsed GGUF files to the neutral model. Reads no tensor data except vectors that belong to the configuration.
#include "converters/gguf/read.h"

#include <algorithm>
#include <set>

#include "converters/declared_transforms.h"
#include "converters/gguf/config.h"
#include "converters/gguf/file.h"
#include "converters/gguf/names.h"
#include "converters/gguf/planes.h"
#include "converters/gguf/shards.h"
#include "converters/gguf/tokenizer.h"
#include "format/base/checked_math.h"
#include "format/base/utf8.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Model;
using tensor::Segment;
using tensor::Tensor;

constexpr std::string_view kHeadName = "lm_head.weight";

void check_shard(const GgufFile& file, std::size_t index, std::size_t count) {
  const std::uint64_t stated_count = file.unsigned_integer("split.count").value_or(count > 1 ? 0 : 1);
  const std::uint64_t stated_number = file.unsigned_integer("split.no").value_or(0);
  if (count == 1 && stated_count <= 1) return;
  if (count == 1) {
    throw Error(ErrorKind::invalid_value, file.where + ": is shard " + std::to_string(stated_number + 1) + " of " +
                                              std::to_string(stated_count) +
                                              ", but its name does not end in -00001-of-00001.gguf or the like");
  }
  if (stated_count != count || stated_number != index) {
    throw Error(ErrorKind::invalid_value, file.where + ": split.no and split.count say shard " +
                                              std::to_string(stated_number) + " of " + std::to_string(stated_count) +
                                              ", the name says " + std::to_string(index) + " of " +
                                              std::to_string(count));
  }
}

std::vector<GgufFile> open_files(const std::filesystem::path& path) {
  const std::vector<std::filesystem::path> paths = shard_paths(path);
  std::vector<GgufFile> files;
  std::uint64_t tensor_count = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    files.push_back(parse_file(paths[i]));
    check_shard(files.back(), i, paths.size());
    tensor_count += files.back().tensors.size();
  }
  if (tensor_count > kMaxTensors) {
    throw Error(ErrorKind::limit_exceeded, files[0].where + ": the shards hold " + std::to_string(tensor_count) +
                                               " tensors, at most " + std::to_string(kMaxTensors));
  }
  const auto stated = files[0].unsigned_integer("split.tensors.count");
  if (files.size() > 1 && stated && *stated != tensor_count) {
    throw Error(ErrorKind::invalid_value, files[0].where + ": split.tensors.count is " + std::to_string(*stated) +
                                              ", the shards hold " + std::to_string(tensor_count) + " tensors");
  }
  return files;
}

void check_transforms(const Tensor& tensor, const GgufFile& file, const TensorInfo& info) {
  for (const tensor::Transform& transform : tensor.transforms) {
    if (transform.kind != tensor::TransformKind::rope_interleave) continue;
    const bool shaped = tensor.shape.size() == 1 || tensor.shape.size() == 2;
    if (!shaped || transform.heads == 0 || tensor.shape[0] % (2 * transform.heads) != 0) {
      throw Error(ErrorKind::invalid_value,
                  file.where + ": tensor '" + std::string(info.name) + "' at byte " + std::to_string(info.offset) +
                      " cannot be cut into " + std::to_string(transform.heads) + " heads of even size",
                  info.offset);
    }
  }
}

/// A stack of experts' matrices as its matrices: equal parts of the tensor's bytes. Empty where it is none.
std::vector<Tensor> read_experts(const GgufFile& file, const TensorInfo& info, const Architecture* architecture) {
  std::vector<Tensor> experts;
  const tensor::Shape shape = info.shape();
  if (architecture == nullptr || shape.size() != 3 || !expert_name(*architecture, info.name, 0)) return experts;
  if (shape[0] == 0 || info.size % shape[0] != 0 || info.size == 0) return experts;
  if (shape[0] > kMaxTensors) {
    throw Error(ErrorKind::limit_exceeded, file.where + ": tensor '" + std::string(info.name) + "' is of " +
                                               std::to_string(shape[0]) + " experts, at most " +
                                               std::to_string(kMaxTensors));
  }
  const std::uint64_t bytes = info.size / shape[0];
  for (std::uint64_t number = 0; number < shape[0]; ++number) {
    Tensor expert;
    expert.name = *expert_name(*architecture, info.name, number);
    expert.shape = {shape[1], shape[2]};
    expert.scheme = info.type->scheme();
    expert.packing = info.type->kind == BlockKind::coded ? tensor::canonical_packing(expert.shape, expert.scheme)
                                                         : tensor::Packing::rows;
    expert.planes =
        block_planes(file.mapping, file.bytes.subspan(info.offset + number * bytes, bytes), *info.type, expert.shape);
    experts.push_back(std::move(expert));
  }
  return experts;
}

Tensor read_tensor(const GgufFile& file, const TensorInfo& info, const Architecture* architecture,
                   const tensor::ModelConfig& config) {
  Tensor tensor;
  tensor.name = std::string(info.name);
  tensor.shape = info.shape();
  tensor.scheme = info.type->scheme();
  if (architecture != nullptr) {
    tensor.name = neutral_name(*architecture, info.name).value_or(tensor.name);
    tensor.transforms = stored_transforms(*architecture, info.name, config);
    check_transforms(tensor, file, info);
  }
  const bool plain_floats = info.type->kind == BlockKind::plain && tensor::info(tensor.scheme.codes.type).is_float;
  if (!plain_floats)
    std::erase_if(tensor.transforms,
                  [](const tensor::Transform& t) { return t.kind == tensor::TransformKind::add_one; });
  tensor.derived = is_derived(info.name);
  tensor.packing = info.type->kind == BlockKind::coded ? tensor::canonical_packing(tensor.shape, tensor.scheme)
                                                       : tensor::Packing::rows;
  tensor.planes = block_planes(file.mapping, file.bytes.subspan(info.offset, info.size), *info.type, tensor.shape);
  return tensor;
}

/// The recipe of one file: header, tensors with their padding, and whatever follows. `counts`: how many of `tensors`
/// each tensor of the file became.
tensor::SourceFile read_source(const GgufFile& file, std::size_t index, std::span<const Tensor> tensors,
                               std::span<const std::size_t> counts, Model& model) {
  tensor::SourceFile source;
  source.path = std::filesystem::path(file.where).filename().string();
  source.size = file.bytes.size();
  source.content = file.mapping;
  const std::string prefix = "source/" + std::to_string(index) + "/";
  const auto literal = [&](const std::string& name, std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    model.attachments.push_back({prefix + name, file.bytes.subspan(begin, end - begin), file.mapping});
    Segment segment;
    segment.attachment = prefix + name;
    segment.size = end - begin;
    source.segments.push_back(std::move(segment));
  };
  literal("header", 0, file.data_start);
  std::uint64_t at = file.data_start;
  std::size_t next = 0;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    const TensorInfo& info = file.tensors[i];
    const std::size_t parts = counts[i];
    for (std::size_t part = 0; part < parts && info.size > 0; ++part) {
      Segment segment;
      segment.kind = Segment::Kind::tensor;
      segment.tensor = tensors[next + part].name;
      segment.part = std::string(info.type->name);
      segment.size = info.size / parts;
      source.segments.push_back(std::move(segment));
    }
    next += parts;
    if (info.size == 0) continue;
    at = std::min<std::uint64_t>(align_up(info.offset + info.size, file.alignment), file.bytes.size());
    if (at == info.offset + info.size) continue;
    Segment padding;
    padding.kind = Segment::Kind::zeros;
    padding.size = at - info.offset - info.size;
    source.segments.push_back(std::move(padding));
  }
  literal("tail", at, file.bytes.size());
  return source;
}

void read_metadata(const GgufFile& file, Model& model) {
  for (const KeyValue& entry : file.entries) {
    if (!entry.key.starts_with("general.") || entry.key == "general.architecture") continue;
    const auto text = entry.text();
    if (text && is_utf8(*text) && is_utf8(entry.key))
      model.metadata.emplace(std::string(entry.key), std::string(*text));
  }
}

/// Facts that the tensors show: the tied head, the rows of the embedding, the element type of the weights.
void complete_config(const Architecture* architecture, Model& model) {
  for (const Tensor& tensor : model.tensors) {
    if (tensor.shape.size() < 2 || !tensor.scheme.is_plain()) continue;
    const tensor::DType type = tensor.scheme.codes.type;
    model.config.torch_dtype = type == tensor::DType::bf16  ? "bfloat16"
                               : type == tensor::DType::f16 ? "float16"
                                                            : "float32";
    break;
  }
  if (architecture == nullptr) return;
  const std::string embedding_name = neutral_name(*architecture, "token_embd.weight").value_or("");
  const Tensor* embedding = model.find(embedding_name);
  if (embedding == nullptr) return;
  if (embedding->shape.size() == 2) model.config.vocab_size = embedding->shape[0];
  if (model.find(kHeadName) != nullptr) return;
  model.config.tied_embeddings = true;
  model.aliases.emplace(kHeadName, embedding_name);
}

}  // namespace

Model read_model(const std::filesystem::path& path, const ReadOptions&) {
  const std::vector<GgufFile> files = open_files(path);
  const GgufFile& first = files[0];
  Model model;
  model.layout = "gguf";
  model.path = path;
  const std::string_view word = first.text("general.architecture").value_or("");
  const bool has_experts = first.unsigned_integer(std::string(word) + ".expert_count").value_or(0) > 0;
  const Architecture* architecture =
      find_gguf_architecture(word, first.text(kArchitectureKey).value_or(""), has_experts);
  model.config = read_config(first, architecture);
  model.tokenizer = read_tokenizer(first);
  if (model.tokenizer) model.findings = unknown_special_tokens(first, *model.tokenizer);
  const auto kind = first.text("tokenizer.ggml.model");
  if (kind && *kind != "none" && *kind != "no_vocab" && !model.tokenizer)
    model.metadata.emplace("source.tokenizer", "tokenizer model '" + std::string(*kind) + "'");
  read_metadata(first, model);
  std::vector<std::size_t> first_tensor;
  std::vector<std::vector<std::size_t>> counts;  // by file and tensor
  std::set<std::string> names;
  for (const GgufFile& file : files) {
    first_tensor.push_back(model.tensors.size());
    counts.emplace_back();
    for (const TensorInfo& info : file.tensors) {
      std::vector<Tensor> tensors = read_experts(file, info, architecture);
      if (tensors.empty()) tensors.push_back(read_tensor(file, info, architecture, model.config));
      counts.back().push_back(tensors.size());
      if (model.tensors.size() + tensors.size() > kMaxTensors) {
        throw Error(ErrorKind::limit_exceeded,
                    file.where + ": more than " + std::to_string(kMaxTensors) + " tensors, experts counted one by one");
      }
      for (Tensor& tensor : tensors) {
        if (!names.insert(tensor.name).second) {
          throw Error(ErrorKind::invalid_value, file.where + ": two tensors are called '" + tensor.name + "'",
                      info.offset);
        }
        model.tensors.push_back(std::move(tensor));
      }
    }
  }
  tensor::Source source;
  source.layout = "gguf";
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto tensors = std::span(std::as_const(model.tensors)).subspan(first_tensor[i]);
    source.files.push_back(read_source(files[i], i, tensors, counts[i], model));
  }
  model.source = std::move(source);
  if (const auto declared = first.text(kDeclarationKey))
    apply_declaration(*declared, first.where + ": " + std::string(kDeclarationKey), model);
  complete_config(architecture, model);
  return model;
}

}  // namespace ingot::convert::gguf
