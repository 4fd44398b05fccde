#include "converters/hf/write.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "converters/files/safetensors.h"
#include "converters/hf/config.h"
#include "converters/hf/directory.h"
#include "converters/hf/model_card.h"
#include "converters/hf/tokenizer.h"
#include "converters/hf/write_plan.h"
#include "converters/hf_names.h"
#include "format/base/checked_math.h"
#include "format/base/relative_path.h"
#include "format/tensor/scheme.h"
#include "format/tensor/tensor_index.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;
using tensor::Model;

constexpr std::string_view kAttachmentPrefix = "hf/";
constexpr std::uint64_t kCopyBytes = std::uint64_t{8} << 20;

// --- Shards ----------------------------------------------------------------------------------------------------------
struct Shard {
  std::string path;
  std::vector<std::size_t> items;
  SafetensorsPlan plan;
};

/// The rule of huggingface_hub: in model order, a new shard where the next tensor would not fit; a tensor above the
/// limit stands alone.
std::vector<Shard> plan_shards(const std::vector<HfItem>& items, std::uint64_t shard_bytes) {
  std::vector<Shard> shards(1);
  std::uint64_t filled = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::uint64_t size = items[i].bytes();
    if (shard_bytes != 0 && filled > 0 && checked_add(filled, size, "shard") > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().items.push_back(i);
    filled += size;
  }
  const auto number = [](std::size_t value) {
    const std::string digits = std::to_string(value);
    return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
  };
  for (std::size_t i = 0; i < shards.size(); ++i) {
    Shard& shard = shards[i];
    shard.path = shards.size() == 1 ? std::string(kSafetensorsFile)
                                    : "model-" + number(i + 1) + "-of-" + number(shards.size()) + ".safetensors";
    std::vector<SafetensorsItem> headers;
    for (const std::size_t item : shard.items)
      headers.push_back({items[item].file_name, items[item].type, items[item].file_shape});
    shard.plan = plan_safetensors(headers, {{"format", "pt"}});
  }
  return shards;
}

std::string index_json(const std::vector<HfItem>& items, const std::vector<Shard>& shards) {
  std::map<std::string, std::string> owners;
  std::uint64_t total_bytes = 0;
  for (const Shard& shard : shards) {
    for (const std::size_t item : shard.items) {
      owners.emplace(items[item].file_name, shard.path);
      total_bytes += items[item].bytes();
    }
  }
  JsonObject weight_map;
  for (const auto& [name, path] : owners) weight_map.emplace_back(name, Json(path));
  Json metadata{JsonObject{}};
  metadata.set("total_size", Json(total_bytes));
  Json json{JsonObject{}};
  json.set("metadata", std::move(metadata));
  json.set("weight_map", Json(std::move(weight_map)));
  return pretty_json(json);
}

// --- Configuration files ---------------------------------------------------------------------------------------------
/// The type that holds most weights, in the words of torch.
std::string torch_dtype(const std::vector<HfItem>& items, const Model& model) {
  std::map<tensor::DType, std::uint64_t> bytes;
  for (const HfItem& item : items)
    if (item.file_shape.size() >= 2 && item.coded == nullptr) bytes[item.type] += item.bytes();
  tensor::DType most = tensor::DType::f32;
  std::uint64_t most_bytes = 0;
  for (const auto& [type, size] : bytes) {
    if (size > most_bytes) {
      most = type;
      most_bytes = size;
    }
  }
  switch (most) {
    case tensor::DType::f64: return "float64";
    case tensor::DType::f32: return "float32";
    case tensor::DType::f16: return "float16";
    case tensor::DType::bf16: return "bfloat16";
    default: return model.config.torch_dtype.empty() ? "float32" : model.config.torch_dtype;
  }
}

/// The config of the source, saying what the weights are now.
Json adapted_config(const Json& source, const std::string& dtype) {
  JsonObject members;
  bool announced = false;
  for (const auto& [name, value] : source.as_object("config.json")) {
    if (name == "quantization_config" || name == "quantization") continue;
    const bool announces = name == "torch_dtype" || name == "dtype";
    announced |= announces;
    members.emplace_back(name, announces ? Json(dtype) : value);
  }
  if (!announced) members.emplace_back("torch_dtype", Json(dtype));
  return Json(std::move(members));
}

bool has_file(const Model& model, std::string_view name) {
  return model.find_attachment(std::string(kAttachmentPrefix) + std::string(name)) != nullptr;
}

bool any_type_changed(const std::vector<HfItem>& items) {
  return std::any_of(items.begin(), items.end(), [](const HfItem& item) {
    return !item.tensor.scheme.is_plain() || item.type != item.tensor.scheme.codes.type;
  });
}

/// What became of every tensor, for the codec's words in config.json.
std::vector<CodedOutput> coded_outputs(const Model& model, const std::vector<HfItem>& items) {
  const tensor::TensorIndex tensors(model);
  std::vector<CodedOutput> outputs;
  const CodedPlan* last = nullptr;
  for (const HfItem& item : items) {
    if (item.coded != nullptr && item.coded.get() == last) continue;
    last = item.coded.get();
    outputs.push_back({last != nullptr ? item.plain_name : item.file_name, item.tensor.name,
                       tensors.find(item.tensor.name), last, item.type});
  }
  return outputs;
}

/// README.md where the source has none and there is something to say, or where the metadata were edited since.
void add_model_card(const Model& model, std::map<std::string, std::string>& files) {
  const tensor::Attachment* card = model.find_attachment(std::string(kAttachmentPrefix) + std::string(kModelCardFile));
  const std::string name(kModelCardFile);
  if (card == nullptr) {
    if (std::string text = write_model_card(model); !text.empty()) files[name] = std::move(text);
  } else if (std::optional<std::string> text = update_model_card(as_text(card->bytes), model)) {
    files[name] = std::move(*text);
  }
}

/// Files made from the neutral model where the source had none, or other ones: name -> text.
std::map<std::string, std::string> generated_files(const Model& model, const std::vector<HfItem>& items,
                                                   const WriteOptions& options, const HfCodec* codec) {
  std::map<std::string, std::string> files;
  const std::string dtype = torch_dtype(items, model);
  const tensor::Attachment* source_config = model.find_attachment("hf/config.json");
  std::optional<Json> config;
  if (source_config != nullptr) {
    if (codec != nullptr || any_type_changed(items))
      config = adapted_config(parse_json(as_text(source_config->bytes), "config.json"), dtype);
  } else if (!model.config.architecture.empty()) {
    config = write_hf_config(model, dtype);
    if (!has_file(model, "generation_config.json"))
      files["generation_config.json"] = pretty_json(write_hf_generation_config(model));
  }
  add_model_card(model, files);
  if (codec != nullptr && codec->configure != nullptr) {
    if (!config) config = Json(JsonObject{});
    codec->configure(model, coded_outputs(model, items), options, *config, files);
  }
  if (config) files["config.json"] = pretty_json(*config);
  const bool has_tokenizer =
      has_file(model, "tokenizer.json") || has_file(model, "tokenizer.model") || has_file(model, "vocab.json");
  if (model.tokenizer && !has_tokenizer) {
    files["tokenizer.json"] = pretty_json(write_tokenizer_json(*model.tokenizer));
    files["tokenizer_config.json"] = pretty_json(write_tokenizer_config(*model.tokenizer, model.config.context_length));
  }
  return files;
}

/// Words about the quantization of the source, which the output does not have.
bool is_quantization_file(std::string_view path) {
  return path == "quantize_config.json" || path == "quant_config.json" || path == "hf_quant_config.json";
}

/// Attachments to be copied: every file of the source directory except what is made anew and the index of its shards.
std::vector<const tensor::Attachment*> copied_files(const Model& model, const std::set<std::string>& written) {
  std::vector<const tensor::Attachment*> copied;
  for (const tensor::Attachment& attachment : model.attachments) {
    if (!attachment.name.starts_with(kAttachmentPrefix)) continue;
    const std::string path = attachment.name.substr(kAttachmentPrefix.size());
    if (path == kSafetensorsIndex || path == kTorchIndex) continue;
    if (written.contains(path) || is_quantization_file(path)) continue;
    if (!relative_path_fault(path).empty()) {
      throw Error(ErrorKind::invalid_value,
                  model.path.string() + ": attachment '" + attachment.name + "' is no file name inside a directory");
    }
    copied.push_back(&attachment);
  }
  return copied;
}

// --- Writing ---------------------------------------------------------------------------------------------------------
/// A directory that becomes visible under its name at the end, or not at all. With Leftover::kept it goes on with what
/// an earlier one left.
class NewDirectory {
 public:
  NewDirectory(fs::path target, Leftover leftover) : target_(std::move(target)), leftover_(leftover) {
    std::error_code status;
    while (!target_.has_filename() && target_.has_parent_path() && target_ != target_.parent_path())
      target_ = target_.parent_path();
    temporary_ = target_;
    temporary_ += leftover_ == Leftover::kept ? ".partial" : ".tmp-" + std::to_string(::getpid());
    if (leftover_ == Leftover::kept && !fs::exists(temporary_, status)) fs::rename(target_, temporary_, status);
    if (fs::exists(target_, status) && !(fs::is_directory(target_, status) && fs::is_empty(target_, status))) {
      throw Error(ErrorKind::io, target_.string() + ": exists already and is no empty directory");
    }
    if (leftover_ == Leftover::removed) fs::remove_all(temporary_, status);
    fs::create_directories(temporary_, status);
    if (status) throw Error(ErrorKind::io, temporary_.string() + ": cannot create: " + status.message());
  }
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;
  ~NewDirectory() {
    std::error_code ignored;
    if (!temporary_.empty() && leftover_ == Leftover::removed) fs::remove_all(temporary_, ignored);
  }

  /// Where its files lie so far.
  [[nodiscard]] const fs::path& path() const noexcept { return temporary_; }
  /// Path of a new file, its directories created.
  [[nodiscard]] fs::path file(const std::string& name) const {
    const fs::path path = temporary_ / name;
    std::error_code status;
    fs::create_directories(path.parent_path(), status);
    if (status) throw Error(ErrorKind::io, path.parent_path().string() + ": cannot create: " + status.message());
    return path;
  }
  void commit(bool sync) {
    std::error_code status;
    fs::rename(temporary_, target_, status);
    if (status)
      throw Error(ErrorKind::io,
                  target_.string() + ": cannot rename the finished directory to this name: " + status.message());
    temporary_.clear();
    if (!sync) return;
    const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    const int descriptor = ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    ::fsync(descriptor);
    ::close(descriptor);
  }

 private:
  fs::path target_, temporary_;
  Leftover leftover_;
};

void copy_bytes(Bytes bytes, const fs::path& path, const WriteOptions& options) {
  OutputFile file(path, leftover(options.journal));
  for (std::uint64_t begin = 0; begin < bytes.size(); begin += kCopyBytes) {
    file.write(bytes.subspan(begin, std::min<std::uint64_t>(kCopyBytes, bytes.size() - begin)));
  }
  file.commit(options.sync);
}

std::string target_name(const HfItem& item) {
  const SafetensorsType* type = safetensors_type_of(item.type);
  return type != nullptr ? std::string(type->name) : std::string(tensor::name(item.type));
}

TensorOutcome outcome_of(const HfItem& item, const tensor::Tensor& source) {
  TensorOutcome outcome;
  outcome.name = source.name;
  outcome.source_scheme = tensor::describe(source.scheme);
  outcome.source_bytes = source.stored_bytes();
  if (item.form == HfItem::Form::refused) {
    outcome.forecast = ProofClass::refused;
    outcome.reason = item.reason;
    return outcome;
  }
  outcome.target_bytes = item.bytes();
  if (item.coded != nullptr) {
    outcome.forecast = item.coded->proof;
    outcome.reason = item.coded->reason;
    outcome.target_scheme = item.coded->scheme;
    return outcome;
  }
  outcome.target_scheme = target_name(item);
  if (!item.why_plain.empty()) outcome.note = "stays " + outcome.target_scheme + ": " + item.why_plain;
  if (!all_values_fit(item)) {
    outcome.forecast = ProofClass::requantized;
    outcome.reason = "values are rounded to " + outcome.target_scheme;
  }
  return outcome;
}

struct PreparedItems final : PreparedWrite {
  const HfCodec* codec = nullptr;
  std::vector<HfItem> items;
};

std::shared_ptr<const PreparedItems> prepare(const Model& model, const WriteOptions& options, const HfCodec* codec) {
  if (auto known = std::dynamic_pointer_cast<const PreparedItems>(options.prepared); known && known->codec == codec)
    return known;
  auto prepared = std::make_shared<PreparedItems>();
  prepared->codec = codec;
  prepared->items = plan_hf_items(model, options, codec);
  return prepared;
}

}  // namespace

Forecast forecast_hf(const Model& model, const WriteOptions& options, const HfCodec* codec) {
  const auto prepared = prepare(model, options, codec);
  const std::vector<HfItem>& items = prepared->items;
  const tensor::TensorIndex tensors(model);
  Forecast forecast;
  forecast.prepared = prepared;
  std::uint64_t done_bytes = 0, total_bytes = 0;
  for (const tensor::Tensor& tensor : model.tensors) total_bytes += tensor.stored_bytes();
  bool refused = false;
  const CodedPlan* last = nullptr;
  for (const HfItem& item : items) {
    if (item.coded != nullptr && item.coded.get() == last) {
      forecast.tensors.back().target_bytes += item.bytes();
      continue;
    }
    last = item.coded.get();
    const tensor::Tensor& source = *tensors.find(item.tensor.name);
    forecast.tensors.push_back(outcome_of(item, source));
    refused |= item.form == HfItem::Form::refused;
    done_bytes += source.stored_bytes();
    if (options.progress) options.progress("looking", done_bytes, total_bytes);
  }
  if (refused) return forecast;
  std::set<std::string> written;
  for (const Shard& shard : plan_shards(items, options.shard_bytes)) {
    written.insert(shard.path);
    forecast.output_bytes += shard.plan.file_bytes;
  }
  for (const auto& [name, text] : generated_files(model, items, options, codec)) {
    written.insert(name);
    forecast.output_bytes += text.size();
  }
  for (const tensor::Attachment* attachment : copied_files(model, written))
    forecast.output_bytes += attachment->bytes.size();
  return forecast;
}

void write_hf(const Model& model, const fs::path& path, const WriteOptions& options, const HfCodec* codec) {
  const auto prepared = prepare(model, options, codec);
  const std::vector<HfItem>& items = prepared->items;
  const std::vector<Shard> shards = plan_shards(items, options.shard_bytes);
  const std::map<std::string, std::string> generated = generated_files(model, items, options, codec);
  std::uint64_t total_bytes = 0, done_bytes = 0;
  std::set<std::string> written;
  for (const Shard& shard : shards) {
    written.insert(shard.path);
    total_bytes += shard.plan.file_bytes;
  }
  for (const auto& [name, text] : generated) written.insert(name);
  const std::vector<const tensor::Attachment*> copied = copied_files(model, written);

  NewDirectory directory(path, leftover(options.journal));
  const auto advance = [&](std::uint64_t bytes) {
    done_bytes += bytes;
    if (options.progress) options.progress("writing", done_bytes, total_bytes);
  };
  HfItemWriter writer(codec, directory.path(), total_bytes);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    if (options.part && !options.part->takes(s)) continue;
    const Shard& shard = shards[s];
    OutputFile file(directory.file(shard.path), leftover(options.journal));
    file.reserve(shard.plan.file_bytes);
    writer.reserved(shard.plan.file_bytes);
    file.write_at(0, as_bytes_view(shard.plan.header));
    advance(shard.plan.header.size());
    for (std::size_t i = 0; i < shard.items.size(); ++i) {
      const HfItem& item = items[shard.items[i]];
      JournaledRange range(file, options.journal, item.file_name, shard.plan.begin[i], item.bytes());
      writer.write(item, range, shard.plan.begin[i], advance);
      range.finish();
    }
    file.commit(options.sync);
  }
  if (options.part) return;
  if (shards.size() > 1)
    copy_bytes(as_bytes_view(index_json(items, shards)), directory.file(std::string(kSafetensorsIndex)), options);
  for (const auto& [name, text] : generated) copy_bytes(as_bytes_view(text), directory.file(name), options);
  for (const tensor::Attachment* attachment : copied) {
    copy_bytes(attachment->bytes, directory.file(attachment->name.substr(kAttachmentPrefix.size())), options);
  }
  directory.commit(options.sync);
}

}  // namespace ingot::convert
