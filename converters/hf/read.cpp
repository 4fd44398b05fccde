// A Hugging Face checkpoint -> Model: names, tied head, Conv1D, coded tensors, attachments and the way back.
#include "converters/hf/read.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

#include "converters/declared_transforms.h"
#include "converters/hf/adapter.h"
#include "converters/hf/codec.h"
#include "converters/hf/config.h"
#include "converters/hf/config_check.h"
#include "converters/hf/directory.h"
#include "converters/hf/model_card.h"
#include "converters/hf/planes.h"
#include "converters/hf/strided_planes.h"
#include "converters/hf/tokenizer.h"
#include "converters/hf_names.h"
#include "converters/patch_collector.h"
#include "converters/registry.h"
#include "converters/with_views.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

using tensor::Attachment;
using tensor::Model;
using tensor::Segment;
using tensor::SourceFile;
using tensor::Tensor;

/// What one tensor of the files is: plain, or a part of a coded one.
struct Role {
  const CodedTensor* coded = nullptr;
  std::string_view part;  // empty with `coded`: kept verbatim
};

/// Codecs name files inside the checkpoint; a person is told where that is.
CodedTensors read_coded(const HfCodec& codec, const HfCheckpoint& checkpoint, const ReadOptions& options) {
  try {
    return codec.read(checkpoint, options);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    for (const WeightFile& file : checkpoint.directory().weights)
      if (message.starts_with(file.path + ": ") && checkpoint.directory().root != ".")
        throw Error(error.kind, (checkpoint.directory().root / std::string(message)).string(), error.offset);
    throw;
  }
}

/// Everything that the files hold, in file order, each under its role.
class Inventory {
 public:
  Inventory(const HfCheckpoint& checkpoint, const HfCodec* codec, const ReadOptions& options) {
    if (codec == nullptr) return;
    coded_ = read_coded(*codec, checkpoint, options);
    look_at_method(checkpoint, *codec);
    for (const CodedTensor& tensor : coded_.tensors)
      for (const CodedTensor::Part& part : tensor.parts) roles_[part.file_name] = {&tensor, part.part};
  }
  [[nodiscard]] Role role(const std::string& file_name) const {
    const auto found = roles_.find(file_name);
    return found == roles_.end() ? Role{} : found->second;
  }
  /// The name that a plain checkpoint would use.
  [[nodiscard]] const std::string& plain_name(const std::string& file_name) const {
    const Role found = role(file_name);
    return found.coded != nullptr ? found.coded->tensor.name : file_name;
  }
  [[nodiscard]] const std::vector<std::string>& findings() const noexcept { return coded_.findings; }

 private:
  /// The config may name another layout than the one whose tensors are there.
  void look_at_method(const HfCheckpoint& checkpoint, const HfCodec& codec) {
    const std::string method = checkpoint.quant_method();
    const std::string_view named = method == "bitsandbytes" ? "bnb" : std::string_view(method);
    if (named == codec.layout || find_layout(named) == nullptr) return;
    coded_.findings.push_back("the config says quant_method " + method + ", the tensors are those of " +
                              std::string(codec.layout) + ": read as such");
  }

  CodedTensors coded_;
  std::map<std::string, Role, std::less<>> roles_;
};

/// File names -> neutral names; the identity as soon as two names would fall together.
class NameMap {
 public:
  NameMap(const HfCheckpoint& checkpoint, const Inventory& inventory, const std::string& architecture, bool adapter)
      : architecture_(architecture), adapter_(adapter) {
    std::map<std::string, std::string> owners;
    for (const HfCheckpoint::Stored& stored : checkpoint.tensors()) {
      const std::string& plain = inventory.plain_name(stored.name());
      const auto [place, added] = owners.emplace(neutral(plain), plain);
      if (!added && place->second != plain) rename_ = false;
    }
  }
  [[nodiscard]] std::string operator()(const std::string& file_name) const {
    const std::string name = rename_ ? neutral(file_name) : file_name;
    return head_is_embedding_ && name == kHfHeadName ? std::string(hf_embedding_name(architecture_)) : name;
  }
  /// The one matrix of a tied pair is stored under the head's name: it is the embedding, the head becomes an alias.
  void treat_head_as_embedding() noexcept { head_is_embedding_ = true; }

 private:
  [[nodiscard]] std::string neutral(const std::string& file_name) const {
    return adapter_ ? neutral_adapter_name(file_name) : neutral_hf_name(file_name, architecture_);
  }

  std::string architecture_;
  bool adapter_;
  bool rename_ = true;
  bool head_is_embedding_ = false;
};

bool stores(const HfCheckpoint& checkpoint, const Inventory& inventory, const NameMap& names,
            std::string_view neutral) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(), [&](const HfCheckpoint::Stored& stored) {
    return names(inventory.plain_name(stored.name())) == neutral;
  });
}

void add_attachments(const HfDirectory& directory, Model& model) {
  for (std::size_t i = 0; i < directory.weights.size(); ++i) {
    const WeightFile& file = directory.weights[i];
    model.attachments.push_back(
        {"source/" + std::to_string(i) + "/header", file.mapping->bytes().first(file.head_bytes()), file.mapping});
  }
  for (const std::string& name : directory.others) {
    auto mapping = std::make_shared<const MappedFile>(directory.root / name);
    const Bytes bytes = mapping->bytes();
    model.attachments.push_back({"hf/" + name, bytes, std::move(mapping)});
  }
}

Tensor plain_tensor(const WeightFile& file, const WeightEntry& entry, const std::string& name,
                    const std::string& architecture) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = entry.shape;
  tensor.scheme = plain_scheme(entry.type);
  tensor.packing = tensor::Packing::rows;
  tensor.derived = is_hf_buffer(name, architecture);
  const std::size_t rank = entry.shape.size();
  const bool turned =
      (is_hf_conv1d(name, architecture) && rank == 2) || (is_hf_expert_stack(name, architecture) && rank == 3);
  if (turned) std::swap(tensor.shape[rank - 2], tensor.shape[rank - 1]);
  // Where the bytes are row-major for the other orientation, the tensor is stored as they are.
  if (turned != entry.is_transposed()) tensor.transforms.push_back({tensor::TransformKind::transpose});
  const bool in_order = entry.is_dense() || entry.is_transposed();
  tensor.planes = in_order ? plain_planes(file.mapping, file.bytes(entry), tensor)
                           : strided_planes(file.mapping, file.bytes(entry), entry.strides, tensor);
  return tensor;
}

/// Writes the recipe of one weight file: tensors where the file has them in order, everything else verbatim. Large
/// pieces between tensors become attachments of their own, which are views; small ones, and the parts of coded tensors
/// that are kept verbatim, are gathered in one.
class RecipeWriter {
 public:
  RecipeWriter(const WeightFile& file, std::size_t index, Model& model)
      : file_(file), prefix_("source/" + std::to_string(index)), model_(model) {
    recipe_.path = file.path;
    recipe_.size = file.mapping->size();
    recipe_.content = file.mapping;
    add_literal(prefix_ + "/header", 0, file.head_bytes());
    position_ = file.head_bytes();
  }

  [[nodiscard]] SourceFile write(const Inventory& inventory, const NameMap& names) {
    for (const WeightEntry* entry : in_file_order()) {
      if (entry->begin < position_) continue;  // shares bytes with one before
      keep(entry->begin);
      const Role role = inventory.role(entry->name);
      if (role.coded != nullptr && role.part.empty()) {
        gather(entry->end);
        continue;
      }
      Segment segment;
      segment.kind = Segment::Kind::tensor;
      segment.tensor = names(inventory.plain_name(entry->name));
      segment.part = role.coded != nullptr ? std::string(role.part) : "raw";
      segment.size = entry->size();
      recipe_.segments.push_back(std::move(segment));
      position_ = entry->end;
    }
    keep(recipe_.size);
    if (!gathered_.empty()) {
      const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(gathered_));
      model_.attachments.push_back({prefix_ + "/literals", Bytes(*owner), owner});
    }
    return std::move(recipe_);
  }

 private:
  static constexpr std::uint64_t kSmallBytes = 4096;

  /// Tensors that packing gives back; of those with the same bytes the first is the one that has them.
  [[nodiscard]] std::vector<const WeightEntry*> in_file_order() const {
    std::vector<const WeightEntry*> entries;
    for (const WeightEntry& entry : file_.entries)
      if (entry.size() > 0 && (entry.is_dense() || entry.is_transposed())) entries.push_back(&entry);
    std::stable_sort(entries.begin(), entries.end(), [](const WeightEntry* a, const WeightEntry* b) {
      return a->begin != b->begin ? a->begin < b->begin : a->end > b->end;
    });
    return entries;
  }
  void add_literal(std::string attachment, std::uint64_t begin, std::uint64_t size) {
    Segment segment;
    segment.attachment = std::move(attachment);
    segment.begin = begin;
    segment.size = size;
    recipe_.segments.push_back(std::move(segment));
  }
  void gather(std::uint64_t end) {
    const Bytes bytes = file_.mapping->bytes().subspan(position_, end - position_);
    add_literal(prefix_ + "/literals", gathered_.size(), bytes.size());
    gathered_.insert(gathered_.end(), bytes.begin(), bytes.end());
    position_ = end;
  }
  /// The bytes up to `end` belong to no tensor.
  void keep(std::uint64_t end) {
    if (end == position_) return;
    if (end - position_ <= kSmallBytes) return gather(end);
    const std::string name = prefix_ + "/bytes_" + std::to_string(position_);
    const std::uint64_t size = end - position_;
    model_.attachments.push_back({name, file_.mapping->bytes().subspan(position_, size), file_.mapping});
    add_literal(name, 0, size);
    position_ = end;
  }

  const WeightFile& file_;
  std::string prefix_;
  Model& model_;
  SourceFile recipe_;
  std::uint64_t position_ = 0;
  std::vector<std::byte> gathered_;
};

tensor::Source make_source(const HfDirectory& directory, const Inventory& inventory, const NameMap& names,
                           Model& model) {
  tensor::Source source;
  source.layout = model.layout;
  for (std::size_t i = 0; i < directory.weights.size(); ++i) {
    source.files.push_back(RecipeWriter(directory.weights[i], i, model).write(inventory, names));
  }
  for (const std::string& name : directory.others) {
    SourceFile file;
    const Attachment& attachment = *model.find_attachment("hf/" + name);
    file.path = name;
    file.content = std::static_pointer_cast<const MappedFile>(attachment.owner);
    Segment all;
    all.attachment = attachment.name;
    all.size = file.size = attachment.bytes.size();
    if (all.size > 0) file.segments.push_back(std::move(all));
    source.files.push_back(std::move(file));
  }
  return source;
}

/// Tensors that safetensors.torch.save_model dropped because they share storage with another, and the tied head.
void add_aliases(const HfDirectory& directory, const NameMap& names, Model& model) {
  const std::string embedding(hf_embedding_name(model.config.architecture));
  for (const WeightFile& file : directory.weights) {
    for (const auto& [dropped, kept] : file.aliases) {
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

/// Returns what is odd about it.
std::vector<std::string> read_tokenizer(Model& model, const std::string& where) {
  const FileLookup files = [&](std::string_view name) -> std::optional<Bytes> {
    const Attachment* attachment = model.find_attachment("hf/" + std::string(name));
    if (attachment == nullptr) return std::nullopt;
    return attachment->bytes;
  };
  HfTokenizerResult result = read_hf_tokenizer(files, where);
  model.tokenizer = std::move(result.spec);
  if (!result.note.empty()) model.metadata.emplace("source.tokenizer", result.note);
  return std::move(result.findings);
}

/// Plain tensors by their bytes, so that those which share them are found.
class SharedBytes {
 public:
  /// The name of the tensor that has the same elements already; else null, and `name` is remembered.
  [[nodiscard]] const std::string* find_or_add(const HfCheckpoint::Stored& stored, const std::string& name) {
    const WeightEntry& entry = *stored.entry;
    if (entry.size() == 0) return nullptr;
    const auto [place, added] =
        names_.emplace(Key(stored.file, entry.begin, entry.type, entry.shape, entry.strides), name);
    return added ? nullptr : &place->second;
  }

 private:
  using Key = std::tuple<const WeightFile*, std::uint64_t, tensor::DType, tensor::Shape, std::vector<std::uint64_t>>;
  std::map<Key, std::string> names_;
};

/// Every tensor once, in file order; a coded one where its first part stands; one that shares the bytes of another is
/// an alias.
void add_tensors(const HfCheckpoint& checkpoint, const Inventory& inventory, const NameMap& names, Model& model) {
  std::set<const CodedTensor*> added;
  SharedBytes shared;
  for (const HfCheckpoint::Stored& stored : checkpoint.tensors()) {
    const Role role = inventory.role(stored.name());
    if (role.coded == nullptr) {
      const std::string name = names(stored.name());
      if (const std::string* owner = shared.find_or_add(stored, name)) {
        model.aliases.emplace(name, *owner);
        continue;
      }
      model.tensors.push_back(plain_tensor(*stored.file, *stored.entry, name, model.config.architecture));
    } else if (added.insert(role.coded).second) {
      model.tensors.push_back(role.coded->tensor);
      model.tensors.back().name = names(role.coded->tensor.name);
    }
  }
}

/// Packs every coded part as `restore` will do, unless it has one encoding only, and notes where the file holds other
/// bytes.
void find_patches(Model& model, SourceFile& file, const MappedFile& mapping, std::size_t index, const HfCodec& codec) {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{8} << 20;
  PatchCollector patches(file, "source/" + std::to_string(index) + "/patches");
  std::vector<std::byte> packed;
  std::uint64_t offset = 0;
  const tensor::TensorIndex tensors(model);
  Tensor viewed;
  for (const Segment& segment : file.segments) {
    const Tensor* tensor =
        segment.kind == Segment::Kind::tensor && segment.part != "raw" ? tensors.find(segment.tensor) : nullptr;
    if (tensor != nullptr && !(codec.one_encoding != nullptr && codec.one_encoding(*tensor, segment.part))) {
      if (viewed.name != tensor->name) viewed = with_views(*tensor);
      for (std::uint64_t at = 0; at < segment.size; at += kPieceBytes) {
        packed.resize(std::min(kPieceBytes, segment.size - at));
        codec.pack(viewed, segment.part, at, packed);
        patches.compare(offset + at, mapping.bytes().subspan(offset + at, packed.size()), packed);
      }
    }
    offset += segment.size;
  }
  patches.finish(model);
}

}  // namespace

tensor::Model read_hf(const std::filesystem::path& path, const ReadOptions& options, const HfCodec* codec) {
  const HfCheckpoint checkpoint(path);
  const HfDirectory& directory = checkpoint.directory();
  Model model;
  model.layout = codec != nullptr ? codec->layout : "hf";
  model.path = path;
  add_attachments(directory, model);
  read_config(model, path.string());
  std::vector<std::string> findings = read_tokenizer(model, path.string());
  if (const Attachment* card = model.find_attachment("hf/" + std::string(kModelCardFile)))
    read_model_card(as_text(card->bytes), model);
  for (const std::string& name : directory.not_restorable) model.metadata["source.not_restorable"] += name + "\n";

  const Inventory inventory(checkpoint, codec, options);
  model.findings = inventory.findings();
  std::ranges::move(findings, std::back_inserter(model.findings));
  for (const WeightFile& file : directory.weights)
    for (const std::string& note : file.notes) model.findings.push_back(file.path + ": " + note);
  const bool is_adapter = read_adapter_facts(model, directory.weights.front().path, path.string());
  NameMap names(checkpoint, inventory, model.config.architecture, is_adapter);
  const std::string_view embedding = hf_embedding_name(model.config.architecture);
  if (model.config.tied_embeddings && stores(checkpoint, inventory, names, kHfHeadName) &&
      !stores(checkpoint, inventory, names, embedding)) {
    names.treat_head_as_embedding();
  }
  add_tensors(checkpoint, inventory, names, model);
  if (const Attachment* declared = model.find_attachment(kDeclarationAttachment))
    apply_declaration(as_text(declared->bytes), path.string() + "/" + std::string(kDeclarationFile), model);
  add_aliases(directory, names, model);
  if (!is_adapter)
    for (std::string& finding : contradicted_dimensions(model)) model.findings.push_back(std::move(finding));
  model.source = make_source(directory, inventory, names, model);
  return model;
}

void find_hf_patches(tensor::Model& model, const HfCodec& codec) {
  if (!model.source) return;
  for (std::size_t i = 0; i < model.source->files.size(); ++i) {
    SourceFile& file = model.source->files[i];
    file.patches.clear();
    find_patches(model, file, *file.content, i, codec);
  }
}

}  // namespace ingot::convert
