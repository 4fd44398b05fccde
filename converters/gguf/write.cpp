// Headers and files: keys in the order of the reference converter, tensors in model order, shards by size.
#include "converters/gguf/write.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "converters/declared_transforms.h"
#include "converters/gguf/config.h"
#include "converters/gguf/file.h"
#include "converters/gguf/plan.h"
#include "converters/gguf/shards.h"
#include "converters/gguf/tokenizer.h"
#include "format/base/checked_math.h"
#include "format/base/output_file.h"

namespace ingot::convert::gguf {
namespace {

using tensor::Model;

constexpr std::uint32_t kQuantizationVersion = 2;

std::uint32_t file_type(const WritePlan& plan) {
  std::map<const BlockType*, std::uint64_t> bytes_of;
  for (const TensorPlan& tensor : plan.tensors)
    if (tensor.type != nullptr && tensor.shape.size() >= 2 && tensor.type->file_type >= 0)
      bytes_of[tensor.type] += tensor.size();
  const BlockType* most = nullptr;
  std::uint64_t most_bytes = 0;
  for (const auto& [type, bytes] : bytes_of) {
    if (bytes > most_bytes || (bytes == most_bytes && most != nullptr && type->id < most->id)) {
      most = type;
      most_bytes = bytes;
    }
  }
  return most != nullptr ? static_cast<std::uint32_t>(most->file_type) : 0;
}

void add_types(HeaderBuilder& header, const WritePlan& plan) {
  header.add_u32("general.file_type", file_type(plan));
  const bool quantized = std::any_of(plan.tensors.begin(), plan.tensors.end(), [](const TensorPlan& tensor) {
    return tensor.type != nullptr && tensor.type->kind == BlockKind::coded;
  });
  if (quantized) header.add_u32("general.quantization_version", kQuantizationVersion);
}

/// The keys of the file the model came from, with what changed since: edited texts, types of the tensors.
void add_kept_keys(HeaderBuilder& header, const Model& model, const WritePlan& plan) {
  const tensor::Attachment& attachment = *source_header(model);
  const GgufFile source = parse_bytes(attachment.bytes, model.path.string() + ": " + attachment.name, true);
  for (const KeyValue& entry : source.entries) {
    const bool rewritten = entry.key.starts_with("split.") || entry.key == "general.alignment" ||
                           entry.key == "general.file_type" || entry.key == "general.quantization_version" ||
                           entry.key == kDeclarationKey;
    if (rewritten) continue;
    const bool text =
        entry.key.starts_with("general.") && entry.key != "general.architecture" && entry.text().has_value();
    const auto edited = model.metadata.find(std::string(entry.key));
    if (text && edited != model.metadata.end() && edited->second != *entry.text()) {
      header.add_string(entry.key, edited->second);
    } else if (!text || edited != model.metadata.end()) {
      header.add_verbatim(entry);
    }
  }
  for (const auto& [key, value] : model.metadata)
    if (key.starts_with("general.") && !header.has(key)) header.add_string(key, value);
  add_types(header, plan);
}

void add_new_keys(HeaderBuilder& header, const Model& model, const WritePlan& plan) {
  header.add_string("general.architecture", plan.architecture->gguf);
  header.add_string("general.type", "model");
  for (const auto& [key, value] : model.metadata)
    if (key.starts_with("general.") && !header.has(key) && !value.empty()) header.add_string(key, value);
  tensor::ModelConfig config = model.config;
  std::uint64_t embedding_rows = 0;
  for (const TensorPlan& tensor : plan.tensors)
    if (tensor.name == "token_embd.weight" && tensor.shape.size() == 2) embedding_rows = tensor.shape[0];
  if (embedding_rows > 0) config.vocab_size = embedding_rows;
  write_config(header, config, *plan.architecture);
  const bool shares_its_name =
      find_gguf_architecture(plan.architecture->gguf, {}, config.expert_count > 0) != plan.architecture;
  if (shares_its_name) header.add_string(kArchitectureKey, plan.architecture->neutral);
  add_types(header, plan);
  if (model.tokenizer) write_tokenizer(header, *model.tokenizer, embedding_rows);
}

std::vector<std::uint64_t> dims_of(const TensorPlan& tensor) { return {tensor.shape.rbegin(), tensor.shape.rend()}; }

/// Cuts the written tensors into files of at most `shard_bytes` (a larger tensor stands alone). `first_header_bytes`:
/// the header of the first file without tensor infos.
std::vector<std::vector<const TensorPlan*>> cut_shards(const WritePlan& plan, std::uint64_t shard_bytes,
                                                       std::uint64_t first_header_bytes) {
  constexpr std::uint64_t kSplitKeysBytes = 192;  // fixed fields, the three split keys and padding, rounded up
  std::vector<std::vector<const TensorPlan*>> shards(1);
  std::uint64_t size = first_header_bytes + kSplitKeysBytes;
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.action == Action::drop) continue;
    const std::uint64_t info_bytes = 8 + tensor.name.size() + 4 + 8 * tensor.shape.size() + 4 + 8;
    const std::uint64_t bytes = align_up(tensor.size(), kDefaultAlignment) + info_bytes;
    if (shard_bytes > 0 && !shards.back().empty() && size + bytes > shard_bytes) {
      shards.emplace_back();
      size = kSplitKeysBytes;
    }
    shards.back().push_back(&tensor);
    size += bytes;
  }
  return shards;
}

class ProgressMeter {
 public:
  ProgressMeter(const Progress& progress, std::uint64_t total) : progress_(progress), total_(total) {}
  void advance(std::uint64_t bytes) {
    if (!progress_) return;
    const std::scoped_lock lock(mutex_);
    done_ += bytes;
    progress_("writing", done_, total_);
  }

 private:
  const Progress& progress_;
  std::mutex mutex_;
  std::uint64_t done_ = 0, total_;
};

void write_shard(OutputFile& output, const HeaderBuilder& header, const std::vector<const TensorPlan*>& tensors,
                 WriteJournal* journal, ProgressMeter& meter) {
  const std::vector<std::byte> head = header.finish();
  output.reserve(head.size() + header.data_bytes());
  output.write_at(0, head);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t at = head.size() + header.tensor_offsets()[i];
    JournaledRange range(output, journal, tensors[i]->name, at, tensors[i]->size());
    output.clear(at + tensors[i]->size(), at + align_up(tensors[i]->size(), kDefaultAlignment));
    if (range.is_finished()) {
      meter.advance(tensors[i]->size());
      continue;
    }
    emit_tensor(*tensors[i], [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      range.write_at(at + offset, bytes);
      meter.advance(bytes.size());
    });
    range.finish();
  }
}

HeaderBuilder shard_header(const Model& model, const WritePlan& plan, std::size_t index, std::size_t count,
                           const std::vector<const TensorPlan*>& tensors) {
  HeaderBuilder header;
  if (index == 0)
    source_header(model) != nullptr ? add_kept_keys(header, model, plan) : add_new_keys(header, model, plan);
  if (const tensor::Attachment* declared = model.find_attachment(kDeclarationAttachment);
      declared != nullptr && index == 0)
    header.add_string(kDeclarationKey, as_text(declared->bytes));
  if (count > 1) {
    std::int32_t total = 0;
    for (const TensorPlan& tensor : plan.tensors) total += tensor.action != Action::drop;
    header.add_u16("split.no", static_cast<std::uint16_t>(index));
    header.add_u16("split.count", static_cast<std::uint16_t>(count));
    header.add_i32("split.tensors.count", total);
  }
  for (const TensorPlan* tensor : tensors) header.add_tensor(tensor->name, dims_of(*tensor), *tensor->type);
  return header;
}

std::filesystem::path shard_path(const std::filesystem::path& path, std::size_t index, std::size_t count) {
  if (count == 1) return path;
  std::string stem = path.filename().string();
  if (stem.ends_with(".gguf")) stem.resize(stem.size() - 5);
  return path.parent_path() /
         shard_file_name(stem, static_cast<std::uint32_t>(index + 1), static_cast<std::uint32_t>(count));
}

struct PreparedPlan final : PreparedWrite {
  WritePlan plan;
};

std::shared_ptr<const PreparedPlan> prepare(const Model& model, const WriteOptions& options) {
  if (auto known = std::dynamic_pointer_cast<const PreparedPlan>(options.prepared)) return known;
  auto prepared = std::make_shared<PreparedPlan>();
  prepared->plan = make_plan(model, options);
  return prepared;
}

}  // namespace

Forecast forecast_model(const Model& model, const WriteOptions& options) {
  const auto prepared = prepare(model, options);
  const WritePlan& plan = prepared->plan;
  Forecast forecast;
  forecast.prepared = prepared;
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.action != Action::drop) forecast.output_bytes += align_up(tensor.size(), kDefaultAlignment);
    if (tensor.source == nullptr) continue;
    const bool second_copy = !forecast.tensors.empty() && forecast.tensors.back().name == tensor.source->name;
    if (second_copy) continue;
    const std::vector<const tensor::Tensor*> sources = plan.sources(tensor);
    TensorOutcome outcome;
    outcome.source_scheme = tensor::describe(tensor.source->scheme);
    outcome.target_scheme = tensor.type != nullptr ? std::string(tensor.type->name) : "";
    outcome.source_bytes = tensor.source->stored_bytes() / sources.size();
    outcome.target_bytes = tensor.action == Action::drop ? 0 : tensor.size() / sources.size();
    outcome.forecast = check_values(tensor, outcome.reason);
    for (const tensor::Tensor* source : sources) {
      outcome.name = source->name;
      forecast.tensors.push_back(outcome);
    }
  }
  if (source_header(model) == nullptr) forecast.findings = unsaid_to_readers(model.config, *plan.architecture);
  const std::vector<const TensorPlan*> none;
  forecast.output_bytes +=
      shard_header(model, plan, 0, 1, none).finish().size();  // also finds keys that cannot be written
  return forecast;
}

void write_model(const Model& model, const std::filesystem::path& path, const WriteOptions& options) {
  const auto prepared = prepare(model, options);
  const WritePlan& plan = prepared->plan;
  std::uint64_t total = 0;
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.action == Action::refuse)
      throw Error(ErrorKind::unsupported, "tensor '" + tensor.source->name + "': " + tensor.reason);
    if (tensor.action != Action::drop) total += tensor.size();
  }
  const std::uint64_t header_bytes = shard_header(model, plan, 0, 1, {}).finish().size();
  const auto shards = cut_shards(plan, options.shard_bytes, header_bytes);
  if (shards.size() > 65535)
    throw Error(ErrorKind::limit_exceeded, path.string() + ": more than 65535 shards; choose a larger shard size");
  ProgressMeter meter(options.progress, total);
  std::vector<OutputFile> outputs;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (options.part && !options.part->takes(i)) continue;
    const HeaderBuilder header = shard_header(model, plan, i, shards.size(), shards[i]);
    outputs.emplace_back(shard_path(path, i, shards.size()), leftover(options.journal));
    write_shard(outputs.back(), header, shards[i], options.journal, meter);
  }
  for (OutputFile& output : outputs) output.commit(options.sync);
}

}  // namespace ingot::convert::gguf
