#include "inspect/overview.h"

#include <algorithm>
#include <array>
#include <map>

#include "converters/registry.h"
#include "format/tensor/fingerprint.h"
#include "inspect/fold.h"

namespace ingot::inspect {
namespace {

using tensor::Model;
using tensor::ModelConfig;
using tensor::Tensor;

constexpr std::array<std::string_view, 4> kTokenizerNames = {"byte-level BPE", "BPE with byte fallback",
                                                             "SentencePiece BPE", "unigram"};

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::string layout_text(const Model& model, const OverviewFacts& facts) {
  const convert::Layout* layout = convert::find_layout(facts.layout);
  std::string text = facts.layout;
  if (layout != nullptr) {
    const std::string_view description = layout->description;
    text += " (" + std::string(description.substr(0, description.find(':'))) + ")";
  }
  if (!model.layout.empty() && model.layout != facts.layout) text += ", made from " + printable(model.layout);
  return text;
}

std::string architecture_text(const ModelConfig& config) {
  std::vector<std::string> parts = {printable(config.architecture)};
  if (config.layer_count > 0) parts.push_back(plural(config.layer_count, "layer"));
  if (config.hidden_size > 0) parts.push_back("hidden " + std::to_string(config.hidden_size));
  if (config.intermediate_size > 0) parts.push_back("intermediate " + std::to_string(config.intermediate_size));
  return joined(parts);
}

/// "lora for base/model: rank 8, alpha 16, rank-stabilized" (spec/adapters.md); empty for a whole model.
std::string adapter_text(const Model& model) {
  const auto fact = [&](std::string_view key) {
    const auto found = model.metadata.find("adapter." + std::string(key));
    return found == model.metadata.end() ? std::string() : printable(found->second);
  };
  if (fact("type").empty()) return {};
  std::vector<std::string> parts;
  for (const std::string_view key : {"rank", "alpha"})
    if (!fact(key).empty()) parts.push_back(std::string(key) + " " + fact(key));
  if (!fact("rank_pattern").empty() || !fact("alpha_pattern").empty()) parts.emplace_back("others by module");
  if (fact("rank_stabilized") == "true") parts.emplace_back("rank-stabilized");
  if (fact("dora") == "true") parts.emplace_back("DoRA");
  const std::string base = fact("base_model");
  return fact("type") + (base.empty() ? "" : " for " + base) + (parts.empty() ? "" : ": " + joined(parts));
}

std::string attention_text(const ModelConfig& config) {
  std::vector<std::string> parts = {plural(config.head_count, "head")};
  if (config.kv_head_count > 0 && config.kv_head_count != config.head_count)
    parts.push_back(plural(config.kv_head_count, "key/value head"));
  if (config.head_dim > 0) parts.push_back("head size " + std::to_string(config.head_dim));
  if (config.rope_theta > 0) parts.push_back("RoPE base " + short_float(config.rope_theta));
  if (!config.rope_scaling.type.empty() && config.rope_scaling.type != "none") {
    parts.push_back("RoPE scaling " + printable(config.rope_scaling.type) + " x" +
                    short_float(config.rope_scaling.factor));
  }
  if (config.sliding_window > 0) parts.push_back("sliding window " + with_separators(config.sliding_window));
  if (config.attention_softcap > 0) parts.push_back("softcap " + short_float(config.attention_softcap));
  return joined(parts);
}

std::string tokenizer_text(const tensor::TokenizerSpec& spec) {
  std::vector<std::string> parts = {std::string(kTokenizerNames[static_cast<std::size_t>(spec.kind)]),
                                    plural(spec.tokens.size(), "token")};
  if (!spec.merges.empty()) parts.push_back(plural(spec.merges.size(), "merge"));
  parts.push_back(spec.chat_template.empty() ? "no chat template" : "chat template");
  return joined(parts);
}

std::string source_text(const tensor::Source& source) {
  std::uint64_t bytes = 0;
  for (const tensor::SourceFile& file : source.files) bytes += file.size;
  return printable(source.layout) + ", " + plural(source.files.size(), "file") + ", " + human_bytes(bytes);
}

void add_file_facts(const container::FileFacts& file, FactList& list) {
  std::string text = human_bytes(file.file_bytes) + ", format " + std::to_string(file.write_version) + ", generation " +
                     std::to_string(file.generation);
  if (file.dead_bytes > 0) text += ", " + human_bytes(file.dead_bytes) + " dead (ingot compact frees them)";
  list.add("file", text);
  list.add("index", human_bytes(file.index_bytes) + ", root " + file.root.hex());
  if (file.members.empty()) return;
  text = plural(file.members.size(), "member") + ": " + printable(file.members.front().path);
  if (file.members.size() > 1) text += " .. " + printable(file.members.back().path);
  list.add("set", text);
}

std::uint64_t total_elements(const Model& model) {
  std::uint64_t sum = 0;
  for (const Tensor& tensor : model.tensors) sum += tensor.elements();
  return sum;
}

std::uint64_t total_bytes(const Model& model) {
  std::uint64_t sum = 0;
  for (const Tensor& tensor : model.tensors) sum += tensor.stored_bytes();
  return sum;
}

std::string header_text(const Model& model, const OverviewFacts& facts, const TextStyle& style) {
  const ModelConfig& config = model.config;
  FactList list;
  list.add("layout", layout_text(model, facts));
  const auto title = model.metadata.find("general.name");
  if (title != model.metadata.end()) list.add("name", printable(title->second));
  if (!config.architecture.empty()) list.add("architecture", architecture_text(config));
  if (const std::string adapter = adapter_text(model); !adapter.empty()) list.add("adapter", adapter);
  if (config.head_count > 0) list.add("attention", attention_text(config));
  if (config.context_length > 0) list.add("context", plural(config.context_length, "token"));
  if (config.vocab_size > 0) {
    list.add("vocabulary",
             with_separators(config.vocab_size) + (config.tied_embeddings ? ", output tied to the embedding" : ""));
  }
  if (model.tokenizer) list.add("tokenizer", tokenizer_text(*model.tokenizer));
  const std::uint64_t elements = total_elements(model), bytes = total_bytes(model);
  list.add("weights", human_count(elements) + " in " + plural(model.tensors.size(), "tensor") + ", " +
                          human_bytes(bytes) + ", " + fixed(bits_per_weight(bytes, elements), 2) + " bits each");
  if (facts.file) add_file_facts(*facts.file, list);
  if (model.source && facts.file) list.add("restores to", source_text(*model.source));
  if (facts.fingerprint) list.add("fingerprint", facts.fingerprint->hex());
  for (const auto& [alias, name] : model.aliases) list.add("alias", printable(alias) + " is " + printable(name));
  for (const auto& [key, value] : model.metadata) {
    constexpr std::size_t kLongestValue = 200;
    if (key != "general.name") list.add(printable(key), elide(printable(value), kLongestValue, Elide::middle));
  }
  return list.render(style);
}

std::string tensors_text(const Model& model, bool fold, const TextStyle& style) {
  using Align = TextTable::Align;
  using Elide = TextTable::Elide;
  const bool any_transform =
      std::any_of(model.tensors.begin(), model.tensors.end(), [](const Tensor& t) { return !t.transforms.empty(); });
  std::vector<TextTable::Column> columns = {{"TENSOR", Align::left, Elide::front},
                                            {"COUNT", Align::right},
                                            {"SHAPE"},
                                            {"SCHEME"},
                                            {"BYTES", Align::right},
                                            {"BITS", Align::right},
                                            {"PACKING", Align::left, Elide::no, TextTable::Drop::early}};
  if (any_transform) columns.push_back({"STORED AS", Align::left, Elide::no, TextTable::Drop::early});
  if (!fold) columns.erase(columns.begin() + 1);
  TextTable table(std::move(columns));
  std::vector<NamedItem> items;
  for (const Tensor& tensor : model.tensors) {
    items.push_back({tensor.name, shape_text(tensor.shape) + " " + tensor::describe(tensor.scheme) + " " +
                                      std::string(tensor::name(tensor.packing)) + " " + transforms_text(tensor)});
  }
  for (const NameGroup& group : fold_names(items, fold)) {
    const Tensor& first = model.tensors[group.members.front()];
    const std::uint64_t count = group.members.size(), bytes = first.stored_bytes();
    std::vector<TextTable::Cell> row = {printable(group.pattern),
                                        count > 1 ? "x" + std::to_string(count) : "",
                                        shape_text(first.shape),
                                        tensor::describe(first.scheme),
                                        human_bytes(bytes * count),
                                        fixed(bits_per_weight(bytes, first.elements()), 2),
                                        std::string(tensor::name(first.packing))};
    if (any_transform) row.push_back(transforms_text(first));
    if (!fold) row.erase(row.begin() + 1);
    table.add_row(std::move(row));
  }
  return table.render(style);
}

/// Tensor name -> the parts in which the source keeps it, except those that are its bytes as they are.
std::multimap<std::string_view, std::string_view> source_types(const Model& model) {
  std::multimap<std::string_view, std::string_view> types;
  if (!model.source) return types;
  for (const tensor::SourceFile& file : model.source->files) {
    for (const tensor::Segment& segment : file.segments)
      if (segment.kind == tensor::Segment::Kind::tensor && segment.part != "raw")
        types.emplace(segment.tensor, segment.part);
  }
  return types;
}

std::string totals_text(const Model& model, const TextStyle& style) {
  using Align = TextTable::Align;
  const std::vector<SchemeTotal> totals = totals_by_scheme(model);
  const bool named =
      std::any_of(totals.begin(), totals.end(), [](const SchemeTotal& t) { return !t.source_types.empty(); });
  std::vector<TextTable::Column> columns = {{"SCHEME", Align::left},   {"TENSORS", Align::right},
                                            {"WEIGHTS", Align::right}, {"BYTES", Align::right},
                                            {"SHARE", Align::right},   {"BITS", Align::right}};
  if (named) columns.push_back({"IN THE SOURCE", Align::left, Elide::end, TextTable::Drop::early});
  TextTable table(std::move(columns));
  const std::uint64_t all_bytes = total_bytes(model), all_elements = total_elements(model);
  const auto share = [&](std::uint64_t bytes) {
    return all_bytes == 0 ? std::string()
                          : fixed(100.0 * static_cast<double>(bytes) / static_cast<double>(all_bytes), 1) + " %";
  };
  const auto add_row = [&](std::vector<TextTable::Cell> row, const std::vector<std::string>& source_types) {
    if (named) row.push_back(printable(joined(source_types)));
    table.add_row(std::move(row));
  };
  for (const SchemeTotal& total : totals) {
    add_row({total.scheme, with_separators(total.tensors), with_separators(total.elements), human_bytes(total.bytes),
             share(total.bytes), fixed(bits_per_weight(total.bytes, total.elements), 2)},
            total.source_types);
  }
  if (totals.size() > 1) {
    add_row({{"all", Ink::strong},
             with_separators(model.tensors.size()),
             with_separators(all_elements),
             human_bytes(all_bytes),
             share(all_bytes),
             fixed(bits_per_weight(all_bytes, all_elements), 2)},
            {});
  }
  return table.render(style);
}

}  // namespace

std::string shape_text(const tensor::Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const std::uint64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

std::string transforms_text(const Tensor& tensor) {
  std::string text;
  for (const tensor::Transform& transform : tensor.transforms) {
    text += (text.empty() ? "" : ", ") + std::string(tensor::name(transform.kind));
    if (transform.heads > 0) text += " (" + plural(transform.heads, "head") + ")";
    if (transform.order != nullptr) text += " (" + std::to_string(transform.order->size()) + ")";
  }
  return text;
}

double bits_per_weight(std::uint64_t bytes, std::uint64_t elements) noexcept {
  return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

std::optional<Hash128> recorded_fingerprint(const Model& model) {
  std::vector<Hash128> of_tensors;
  for (const Tensor& tensor : model.tensors) {
    if (!tensor.fingerprint) return std::nullopt;
    of_tensors.push_back(*tensor.fingerprint);
  }
  return tensor::model_fingerprint(model, of_tensors);
}

std::vector<SchemeTotal> totals_by_scheme(const tensor::Model& model) {
  const std::multimap<std::string_view, std::string_view> types = source_types(model);
  std::vector<SchemeTotal> totals;
  for (const tensor::Tensor& tensor : model.tensors) {
    const std::string scheme = tensor::describe(tensor.scheme);
    auto found =
        std::find_if(totals.begin(), totals.end(), [&](const SchemeTotal& total) { return total.scheme == scheme; });
    if (found == totals.end()) {
      found = totals.insert(totals.end(), SchemeTotal{});
      found->scheme = scheme;
    }
    ++found->tensors;
    found->elements += tensor.elements();
    found->bytes += tensor.stored_bytes();
    const auto [begin, end] = types.equal_range(tensor.name);
    for (auto type = begin; type != end; ++type) {
      std::vector<std::string>& names = found->source_types;
      if (std::find(names.begin(), names.end(), type->second) == names.end()) names.emplace_back(type->second);
    }
  }
  return totals;
}

std::string overview_text(const Model& model, const OverviewFacts& facts, bool fold, const TextStyle& style) {
  std::string text = paint(printable(model.path.string()), Ink::strong, style) + "\n";
  text += header_text(model, facts, style);
  if (!model.findings.empty()) text += "\n" + paint("Findings", Ink::strong, style) + "\n";
  for (const std::string& finding : model.findings) text += wrap("- " + printable(finding), style.width, 2) + "\n";
  if (!model.tensors.empty()) text += "\n" + tensors_text(model, fold, style) + "\n" + totals_text(model, style);
  return text;
}

}  // namespace ingot::inspect
