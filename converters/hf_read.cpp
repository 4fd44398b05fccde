// A Hugging Face checkpoint -> Model: names, tied head, Conv1D, attachments and the way back.
#include "converters/hf_read.h"

#include <algorithm>
#include <set>

#include "converters/hf_config.h"
#include "converters/hf_directory.h"
#include "converters/hf_names.h"
#include "converters/hf_planes.h"
#include "converters/hf_tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::Attachment;
using tensor::Model;
using tensor::Segment;
using tensor::SourceFile;
using tensor::Tensor;

/// File names -> neutral names; the identity as soon as two names would fall together.
class NameMap {
 public:
  NameMap(const HfDirectory& directory, const std::string& architecture) : architecture_(architecture) {
    std::set<std::string> neutral;
    for (const WeightFile& file : directory.weights) {
      for (const SafetensorsEntry& entry : file.header.entries) {
        if (!neutral.insert(neutral_hf_name(entry.name, architecture_)).second) rename_ = false;
      }
    }
  }
  [[nodiscard]] std::string operator()(const std::string& file_name) const {
    const std::string neutral = rename_ ? neutral_hf_name(file_name, architecture_) : file_name;
    return head_is_embedding_ && neutral == kHfHeadName ? std::string(hf_embedding_name(architecture_)) : neutral;
  }
  /// The one matrix of a tied pair is stored under the head's name: it is the embedding, the head becomes an alias.
  void treat_head_as_embedding() noexcept { head_is_embedding_ = true; }

 private:
  std::string architecture_;
  bool rename_ = true;
  bool head_is_embedding_ = false;
};

bool stores(const HfDirectory& directory, const NameMap& names, std::string_view neutral) {
  for (const WeightFile& file : directory.weights) {
    for (const SafetensorsEntry& entry : file.header.entries)
      if (names(entry.name) == neutral) return true;
  }
  return false;
}

void add_attachments(const HfDirectory& directory, Model& model) {
  for (std::size_t i = 0; i < directory.weights.size(); ++i) {
    const WeightFile& file = directory.weights[i];
    model.attachments.push_back(
        {"source/" + std::to_string(i) + "/header", file.mapping->bytes().first(file.header.data_begin), file.mapping});
  }
  for (const std::string& name : directory.others) {
    auto mapping = std::make_shared<const MappedFile>(directory.root / name);
    const Bytes bytes = mapping->bytes();
    model.attachments.push_back({"hf/" + name, bytes, std::move(mapping)});
  }
}

Tensor make_tensor(const WeightFile& file, const SafetensorsEntry& entry, const std::string& name,
                   const std::string& architecture) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = entry.shape;
  tensor.scheme = plain_scheme(entry.type->type);
  tensor.packing = tensor::Packing::rows;
  tensor.derived = is_hf_buffer(name, architecture);
  if (is_hf_conv1d(name, architecture) && entry.shape.size() == 2) {
    std::swap(tensor.shape[0], tensor.shape[1]);
    tensor.transforms.push_back({tensor::TransformKind::transpose});
  }
  tensor.planes = plain_planes(file.mapping, file.mapping->bytes().subspan(entry.begin, entry.size()), tensor);
  return tensor;
}

SourceFile weight_recipe(const WeightFile& file, std::size_t index, const NameMap& names) {
  SourceFile recipe;
  recipe.path = file.path;
  recipe.size = file.mapping->size();
  Segment header;
  header.attachment = "source/" + std::to_string(index) + "/header";
  header.size = file.header.data_begin;
  recipe.segments.push_back(std::move(header));
  for (const SafetensorsEntry& entry : file.header.entries) {
    if (entry.size() == 0) continue;
    Segment segment;
    segment.kind = Segment::Kind::tensor;
    segment.tensor = names(entry.name);
    segment.part = "raw";
    segment.size = entry.size();
    recipe.segments.push_back(std::move(segment));
  }
  return recipe;
}

tensor::Source make_source(const HfDirectory& directory, const NameMap& names, const Model& model) {
  tensor::Source source;
  source.layout = "hf";
  for (std::size_t i = 0; i < directory.weights.size(); ++i)
    source.files.push_back(weight_recipe(directory.weights[i], i, names));
  for (const std::string& name : directory.others) {
    SourceFile file;
    file.path = name;
    Segment all;
    all.attachment = "hf/" + name;
    all.size = file.size = model.find_attachment(all.attachment)->bytes.size();
    if (all.size > 0) file.segments.push_back(std::move(all));
    source.files.push_back(std::move(file));
  }
  return source;
}

/// Tensors that safetensors.torch.save_model dropped because they share storage with another, and the tied head.
void add_aliases(const HfDirectory& directory, const NameMap& names, Model& model) {
  const std::string embedding(hf_embedding_name(model.config.architecture));
  for (const WeightFile& file : directory.weights) {
    for (const auto& [dropped, kept] : file.header.metadata) {
      const std::string alias = names(dropped), target = names(kept);
      if (alias != target && model.find(alias) == nullptr && model.find(target) != nullptr)
        model.aliases.emplace(alias, target);
    }
  }
  const std::string head(kHfHeadName);
  if (model.config.tied_embeddings && model.find(head) == nullptr && model.find(embedding) != nullptr)
    model.aliases.emplace(head, embedding);
}

void read_config(Model& model, const std::string& where) {
  const Attachment* attachment = model.find_attachment("hf/config.json");
  if (attachment == nullptr) return;
  const Json json = parse_json(as_text(attachment->bytes), where + "/config.json");
  model.config = read_hf_config(json, where + "/config.json");
  const std::string method = hf_quantization_method(json);
  if (!method.empty()) model.metadata.emplace("source.quantization", method);
}

void read_tokenizer(Model& model, const std::string& where) {
  const FileLookup files = [&](std::string_view name) -> std::optional<Bytes> {
    const Attachment* attachment = model.find_attachment("hf/" + std::string(name));
    if (attachment == nullptr) return std::nullopt;
    return attachment->bytes;
  };
  HfTokenizerResult result = read_hf_tokenizer(files, where);
  model.tokenizer = std::move(result.spec);
  if (!result.note.empty()) model.metadata.emplace("source.tokenizer", result.note);
}

}  // namespace

tensor::Model read_hf(const std::filesystem::path& path, const ReadOptions&) {
  const HfDirectory directory = open_hf_directory(path);
  Model model;
  model.layout = "hf";
  model.path = path;
  add_attachments(directory, model);
  read_config(model, path.string());
  read_tokenizer(model, path.string());
  for (const std::string& name : directory.not_restorable) model.metadata["source.not_restorable"] += name + "\n";

  NameMap names(directory, model.config.architecture);
  const std::string_view embedding = hf_embedding_name(model.config.architecture);
  if (model.config.tied_embeddings && stores(directory, names, kHfHeadName) && !stores(directory, names, embedding)) {
    names.treat_head_as_embedding();
  }
  for (const WeightFile& file : directory.weights) {
    for (const SafetensorsEntry& entry : file.header.entries) {
      model.tensors.push_back(make_tensor(file, entry, names(entry.name), model.config.architecture));
    }
  }
  add_aliases(directory, names, model);
  model.source = make_source(directory, names, model);
  return model;
}

void complete_hf_source(tensor::Model& model, const Progress& progress) {
  if (!model.source) return;
  std::error_code status;
  const bool is_directory = std::filesystem::is_directory(model.path, status);
  const std::filesystem::path root = is_directory ? model.path : model.path.parent_path();
  std::uint64_t total_bytes = 0, done_bytes = 0;
  for (const SourceFile& file : model.source->files) total_bytes += file.size;
  constexpr std::uint64_t kPieceBytes = 64 * kTreeBlockBytes;
  for (SourceFile& file : model.source->files) {
    const MappedFile mapping(root / file.path);
    if (mapping.size() != file.size) {
      throw Error(ErrorKind::mismatch, mapping.path().string() + ": changed while it was read (size " +
                                           std::to_string(mapping.size()) + ", before " + std::to_string(file.size) +
                                           ")");
    }
    std::vector<Hash128> blocks((file.size + kTreeBlockBytes - 1) / kTreeBlockBytes);
    for (std::uint64_t begin = 0; begin < file.size; begin += kPieceBytes) {
      const Bytes piece = mapping.bytes().subspan(begin, std::min(kPieceBytes, file.size - begin));
      hash128_blocks(piece, std::span(blocks).subspan(begin / kTreeBlockBytes,
                                                      (piece.size() + kTreeBlockBytes - 1) / kTreeBlockBytes));
      mapping.drop(piece);
      done_bytes += piece.size();
      if (progress) progress("hashing", done_bytes, total_bytes);
    }
    file.hash = hash128_of_blocks(blocks);
  }
}

}  // namespace ingot::convert
