// Planning: names, types and actions, per tensor.
#include "converters/gguf/plan.h"

#include <algorithm>
#include <set>

#include "converters/dropped_tensors.h"
#include "converters/gguf/config.h"
#include "converters/gguf/encode.h"
#include "converters/gguf/planes.h"
#include "converters/gguf/recode.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "format/base/checked_math.h"
#include "format/base/parallel.h"

namespace ingot::convert::gguf {
namespace {

using tensor::DType;
using tensor::Model;
using tensor::Tensor;
using tensor::Transform;
using tensor::TransformKind;

constexpr std::string_view kHeadName = "lm_head.weight";

const BlockType* type_named(std::string_view name) { return find_block_type(name); }

/// The row of a plain element type; null when GGUF has none that readers accept as a weight.
const BlockType* plain_type(DType type) {
  for (const BlockType& row : block_types())
    if (row.kind == BlockKind::plain && row.writable && row.scheme().codes.type == type) return &row;
  return nullptr;
}

const BlockType* block_type_of(const Tensor& tensor) {
  for (const BlockType& row : block_types())
    if (row.writable && holds(row, tensor)) return &row;
  return nullptr;
}

/// Readers take vectors, norms, biases, position embeddings and routers as F32, whatever the weights are.
bool is_f32_only(std::string_view gguf_name, const tensor::Shape& shape) {
  return shape.size() < 2 || gguf_name.ends_with("_norm.weight") || !gguf_name.ends_with(".weight") ||
         gguf_name.ends_with(".ffn_gate_inp.weight") || gguf_name == "position_embd.weight" ||
         gguf_name == "token_types.weight" || is_derived(gguf_name);
}

/// A word of --scheme: a row of the encoder table, or any type that may be written, in lower case. Null: unknown.
const BlockType* type_of_word(std::string_view word) {
  for (const Encoder& row : encoders())
    if (row.scheme == word) return type_named(row.type);
  for (const BlockType& row : block_types()) {
    const bool same = std::equal(word.begin(), word.end(), row.name.begin(), row.name.end(),
                                 [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); });
    if (same && row.kind == BlockKind::coded && row.writable) return &row;
  }
  return nullptr;
}

/// How a tensor is treated that is to be rounded to 4 or 5 bits.
enum class Custom : std::uint8_t {
  usual,
  fine,  ///< embedding and head: llama.cpp gives them 6 bits; here Q8_0
  kept,  ///< routers, --keep
};
Custom rounding_custom(const std::string& neutral_name, std::string_view gguf_name, const WriteOptions& options) {
  if (is_kept_by_user(neutral_name, options)) return Custom::kept;
  if (is_quantized_by_user(neutral_name, options)) return Custom::usual;
  if (gguf_name.ends_with("ffn_gate_inp.weight") || gguf_name.ends_with("ffn_gate_inp_shexp.weight"))
    return Custom::kept;
  return gguf_name == "token_embd.weight" || gguf_name == "output.weight" ? Custom::fine : Custom::usual;
}

/// Transforms without order among them: what the stored rows and values are in relation to the logical ones.
struct Arrangement {
  std::uint64_t heads = 0;
  bool add_one = false;
  bool scattered = false;  // neither rows nor columns are where rope_interleave puts them
};
Arrangement arrangement_of(const std::vector<Transform>& transforms) {
  Arrangement result;
  for (const Transform& transform : transforms) {
    if (transform.kind == TransformKind::rope_interleave) result.heads = transform.heads;
    if (transform.kind == TransformKind::add_one) result.add_one = true;
    if (transform.kind == TransformKind::transpose || transform.order != nullptr) result.scattered = true;
  }
  return result;
}

/// Of Q8_0, which codes of other layouts are rounded to.
constexpr std::uint64_t kRoundedElems = 32;

class Planner {
 public:
  Planner(const Model& model, const WriteOptions& options) : model_(model), options_(options) {}
  WritePlan plan();

 private:
  void check_options() const;
  std::optional<std::string> target_name(const Tensor& tensor) const;
  TensorPlan plan_tensor(const Tensor& tensor) const;
  void choose_type(const Tensor& tensor, TensorPlan& plan) const;
  void choose_block_form(const Tensor& tensor, TensorPlan& plan) const;
  void choose_named_type(const Tensor& tensor, TensorPlan& plan) const;
  void keep_type(const Tensor& tensor, TensorPlan& plan) const;
  void choose_action(const Tensor& tensor, TensorPlan& plan) const;
  void plan_tensors();
  void settle_head();
  void add_given(std::string name, const std::vector<float>& values);
  void add_derived();
  [[nodiscard]] TensorPlan* find(std::string_view name);

  const Model& model_;
  const WriteOptions& options_;
  WritePlan plan_;
};

void Planner::check_options() const {
  if (options_.scheme.empty()) return;
  std::string known;
  for (const Encoder& row : encoders()) known += (known.empty() ? "" : ", ") + std::string(row.scheme);
  if (type_of_word(options_.scheme) != nullptr) return;
  throw OptionError("--scheme " + options_.scheme + ": the gguf writer converts to " + known +
                    ", and keeps codes in any type of GGUF");
}

TensorPlan* Planner::find(std::string_view name) {
  for (TensorPlan& plan : plan_.tensors)
    if (plan.name == name && plan.action != Action::drop) return &plan;
  return nullptr;
}

std::optional<std::string> Planner::target_name(const Tensor& tensor) const {
  if (plan_.architecture == nullptr) return tensor.name;
  if (const auto name = gguf_name(*plan_.architecture, tensor.name)) return name;
  if (expert_name(*plan_.architecture, tensor.name, 0)) return tensor.name;  // a stack
  const bool already_gguf = tensor.derived || source_header(model_) != nullptr;
  return already_gguf ? std::optional(tensor.name) : std::nullopt;
}

void Planner::choose_type(const Tensor& tensor, TensorPlan& plan) const {
  const bool opaque = tensor.scheme.codes.kind == tensor::CodeKind::opaque;
  const bool plain = tensor.scheme.is_plain() && !opaque;
  const DType type = tensor.scheme.codes.type;
  if (opaque) {
    plan.reason = "GGUF has no type for elements of " + std::string(tensor::name(type));
  } else if (plain && !tensor::info(type).is_float) {
    plan.type = plain_type(type);
    if (plan.type == nullptr) plan.reason = "GGUF has no type for elements of " + std::string(tensor::name(type));
  } else if (is_f32_only(plan.name, plan.shape) && !(options_.scheme.empty() && source_header(model_) != nullptr)) {
    plan.type = type_named("F32");
  } else if (!options_.scheme.empty()) {
    choose_named_type(tensor, plan);
  } else {
    keep_type(tensor, plan);
  }
}

void Planner::keep_type(const Tensor& tensor, TensorPlan& plan) const {
  const DType type = tensor.scheme.codes.type;
  if (tensor.scheme.is_plain()) {
    plan.type = plain_type(type);
    // Small floats have few enough bits for BF16; wider ones are rounded once to binary32, which is their canonical
    // value.
    if (plan.type == nullptr) plan.type = type_named(tensor::bits(type) <= 8 ? "BF16" : "F32");
  } else {
    plan.type = block_type_of(tensor);
    if (plan.type == nullptr) choose_block_form(tensor, plan);
  }
}

/// --scheme: codes in that type where it holds them, else values converted to it. Where llama.cpp's own tools would not
/// use so small a type, a better one is taken.
void Planner::choose_named_type(const Tensor& tensor, TensorPlan& plan) const {
  const BlockType* type = type_of_word(options_.scheme);
  if (plan.shape.back() % type->block_elems != 0 && find_encoder(type->name) != nullptr) type = type_named("F16");
  if (type->kind == BlockKind::plain && is_kept_by_user(tensor.name, options_)) return keep_type(tensor, plan);
  plan.type = type;
  if (type->kind == BlockKind::plain || holds(*type, tensor)) return;
  if (!tensor.scheme.is_plain() && plan.shape.back() % type->block_elems == 0) {
    Recoded recoded = recode(tensor, {type->scheme(), tensor.transforms});
    if (recoded.proof <= ProofClass::codes) {
      plan.proof = recoded.proof;
      plan.reason = std::move(recoded.reason);
      plan.recoded = std::move(recoded.tensor);
      return;
    }
  }
  switch (rounding_custom(tensor.name, plan.name, options_)) {
    case Custom::kept: return keep_type(tensor, plan);
    case Custom::fine: plan.type = type_named("Q8_0"); break;
    case Custom::usual: break;
  }
  if (find_encoder(plan.type->name) != nullptr) return;
  plan.reason =
      "values cannot be rounded to " + std::string(type->name) +
      ": ingot rounds to q8_0, q4_0, q4_1, q5_0, q5_1 and mxfp4; the other types are written from blocks that "
      "are of them already";
  plan.type = nullptr;
}

/// Codes of another layout in the blocks that hold them.
void Planner::choose_block_form(const Tensor& tensor, TensorPlan& plan) const {
  std::string reason;
  if (std::optional<BlockForm> form = find_block_form(tensor, reason)) {
    plan.type = form->type;
    plan.proof = form->recoded.proof;
    plan.reason = std::move(form->recoded.reason);
    plan.recoded = std::move(form->recoded.tensor);
    return;
  }
  if (tensor.scheme.order != tensor::Order::identity) reason = "columns are in an order of their own: act-order";
  plan.reason = "no GGUF type holds the scheme " + tensor::describe(tensor.scheme) + " with rows of " +
                std::to_string(plan.shape.back()) + (reason.empty() ? "" : " (" + reason + ")");
  // By consent: what loses least among the types that every program runs.
  plan.type = type_named(plan.shape.back() % kRoundedElems == 0 ? "Q8_0" : "F16");
}

void Planner::choose_action(const Tensor& source, TensorPlan& plan) const {
  const Tensor& tensor = plan.recoded ? *plan.recoded : source;
  const Arrangement have = arrangement_of(tensor.transforms);
  // Rows change places only in matrices, and where at most one of the two arrangements permutes.
  const bool permutable = plan.shape.size() == 2 && (have.heads == 0 || plan.target_heads == 0);
  const bool rows_movable =
      !have.scattered && have.add_one == plan.add_one && (have.heads == plan.target_heads || permutable);
  if (plan.type->kind == BlockKind::coded && rows_movable && holds(*plan.type, tensor)) {
    plan.action = Action::join;
  } else if (plan.type->kind == BlockKind::plain && rows_movable && tensor.packing == tensor::Packing::rows &&
             tensor.scheme == plan.type->scheme()) {
    plan.action = Action::copy;
  } else if (find_encoder(plan.type->name) != nullptr) {
    plan.action = Action::encode;
  } else {
    plan.reason = "its arrangement cannot be changed in type " + std::string(plan.type->name);
  }
}

TensorPlan Planner::plan_tensor(const Tensor& tensor) const {
  TensorPlan plan;
  plan.source = &tensor;
  plan.shape = tensor.shape;
  const auto name = target_name(tensor);
  plan.name = name.value_or(tensor.name);
  if (!name) {
    plan.reason = "GGUF has no name for it in architecture " + std::string(plan_.architecture->gguf) +
                  (is_activation_scale(tensor.name) ? " (--drop leaves it out)" : "");
    return plan;
  }
  if (plan.name.size() > 63 || tensor.shape.size() > 4) {
    plan.reason = "GGUF holds names of 63 bytes and 4 dimensions at most";
    return plan;
  }
  if (plan_.architecture != nullptr) {
    for (const Transform& transform : stored_transforms(*plan_.architecture, plan.name, model_.config)) {
      if (transform.kind == TransformKind::rope_interleave) plan.target_heads = transform.heads;
      if (transform.kind == TransformKind::add_one) plan.add_one = true;
    }
  }
  const std::uint64_t rows = plan.shape.empty() ? 1 : plan.shape[0];
  if (plan.target_heads > 0 && (plan.shape.size() > 2 || rows % (2 * plan.target_heads) != 0)) {
    plan.reason =
        std::to_string(rows) + " rows cannot be cut into " + std::to_string(plan.target_heads) + " heads of even size";
    return plan;
  }
  choose_type(tensor, plan);
  if (plan.type != nullptr) choose_action(tensor, plan);
  return plan;
}

/// Small tensors are shared out among the threads; all threads look at a large one.
void Planner::plan_tensors() {
  constexpr std::uint64_t kSharesOfThread = 8;
  std::uint64_t total = 0;
  for (const Tensor& tensor : model_.tensors) total += tensor.stored_bytes();
  const std::uint64_t share = total / (kSharesOfThread * static_cast<std::uint64_t>(thread_count()));
  plan_.tensors.resize(model_.tensors.size());
  const auto is_large = [&](std::size_t i) { return model_.tensors[i].stored_bytes() > share; };
  parallel_for(plan_.tensors.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i)
      if (!is_large(i)) plan_.tensors[i] = plan_tensor(model_.tensors[i]);
  });
  for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
    if (is_large(i)) plan_.tensors[i] = plan_tensor(model_.tensors[i]);
}

/// A head that is stored once, under either name, is the embedding; a required head is stored twice.
void Planner::settle_head() {
  if (plan_.architecture == nullptr) return;
  TensorPlan* head = find("output.weight");
  TensorPlan* embedding = find("token_embd.weight");
  if (head != nullptr && embedding == nullptr) {
    head->name = "token_embd.weight";
    embedding = head;
    head = nullptr;
  }
  if (head != nullptr && plan_.architecture->head_always_tied) {
    head->action = model_.config.tied_embeddings ? Action::drop : Action::refuse;
    head->reason = model_.config.tied_embeddings ? "tied to the embedding, which GGUF readers of this architecture use"
                                                 : "GGUF readers of this architecture use the embedding as head";
  }
  if (head == nullptr && embedding != nullptr && plan_.architecture->head_required) {
    TensorPlan copy = *embedding;
    copy.name = "output.weight";
    plan_.tensors.push_back(std::move(copy));
  }
}

void Planner::add_given(std::string name, const std::vector<float>& values) {
  if (values.empty() || find(name) != nullptr) return;
  TensorPlan plan;
  plan.name = std::move(name);
  plan.shape = {values.size()};
  plan.type = type_named("F32");
  plan.action = Action::given;
  plan.values = values;
  plan_.tensors.insert(plan_.tensors.begin(), std::move(plan));
}

void Planner::add_derived() {
  if (plan_.architecture == nullptr || source_header(model_) != nullptr) return;
  const tensor::RopeScaling& scaling = model_.config.rope_scaling;
  if (scaling.type == "llama3") add_given("rope_freqs.weight", llama3_rope_divisors(model_.config));
  if (scaling.type == "longrope") {
    add_given("rope_factors_short.weight", {scaling.short_factor.begin(), scaling.short_factor.end()});
    add_given("rope_factors_long.weight", {scaling.long_factor.begin(), scaling.long_factor.end()});
  }
}

WritePlan Planner::plan() {
  check_options();
  plan_.architecture = find_architecture(model_.config.architecture);
  if (plan_.architecture == nullptr && source_header(model_) == nullptr) {
    const std::string& name = model_.config.architecture;
    throw Error(ErrorKind::unsupported, name.empty()
                                            ? "the gguf writer needs the model's architecture, and no config.json "
                                              "beside the weights names it"
                                            : "the gguf writer does not know the architecture '" + name + "'");
  }
  plan_tensors();
  settle_head();
  add_derived();
  std::set<std::string_view> names;
  for (TensorPlan& plan : plan_.tensors) {
    if (plan.action == Action::drop || plan.action == Action::refuse || names.insert(plan.name).second) continue;
    plan.action = Action::refuse;
    plan.reason = "another tensor has its GGUF name " + plan.name;
  }
  return std::move(plan_);
}

}  // namespace

std::uint64_t TensorPlan::size() const {
  if (type == nullptr) return 0;
  std::uint64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows = checked_mul(rows, shape[i], "tensor size");
  const std::uint64_t cols = shape.empty() ? 1 : shape.back();
  return checked_mul(rows, cols / type->block_elems * type->block_bytes, "tensor size");
}

const tensor::Attachment* source_header(const Model& model) noexcept {
  if (!model.source || model.source->layout != "gguf") return nullptr;
  return model.find_attachment("source/0/header");
}

std::vector<const Tensor*> WritePlan::sources(const TensorPlan& plan) const {
  if (plan.source == nullptr) return {};
  if (stacked != nullptr)
    if (const auto stack = stacked->experts.find(plan.source->name); stack != stacked->experts.end())
      return stack->second;
  return {plan.source};
}

WritePlan make_plan(const Model& model, const WriteOptions& options) {
  const auto stacked = stack_experts(model, find_architecture(model.config.architecture));
  WritePlan plan = Planner(stacked != nullptr ? stacked->model : model, options).plan();
  plan.stacked = stacked;
  return plan;
}

}  // namespace ingot::convert::gguf
