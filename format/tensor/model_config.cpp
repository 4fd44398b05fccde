// JSON form of the neutral hyperparameters. Implements spec/model_config.md.
#include "format/tensor/model_config.h"

#include "format/tensor/json_fields.h"

namespace ingot::tensor {
namespace {

/// visitor(name, field, default). `Record` is const for writing.
template <class Record, class Visitor>
void visit_fields_of_scaling(Record& record, Visitor& visitor) {
  const RopeScaling none;
  visitor("type", record.type, none.type);
  visitor("factor", record.factor, none.factor);
  visitor("low_freq_factor", record.low_freq_factor, none.low_freq_factor);
  visitor("high_freq_factor", record.high_freq_factor, none.high_freq_factor);
  visitor("attention_factor", record.attention_factor, none.attention_factor);
  visitor("beta_fast", record.beta_fast, none.beta_fast);
  visitor("beta_slow", record.beta_slow, none.beta_slow);
  visitor("truncate", record.truncate, none.truncate);
  visitor("original_context_length", record.original_context_length, none.original_context_length);
  visitor("short_factor", record.short_factor, none.short_factor);
  visitor("long_factor", record.long_factor, none.long_factor);
}

}  // namespace

// Found by FieldWriter and FieldReader through the argument type.
static Json to_json(const RopeScaling& scaling) {
  FieldWriter writer;
  visit_fields_of_scaling(scaling, writer);
  return writer.take();
}

static void from_json(const Json& json, const std::string& where, RopeScaling& scaling) {
  FieldReader reader(json, where);
  visit_fields_of_scaling(scaling, reader);
  reader.finish();
}

namespace {

template <class Record, class Visitor>
void visit_fields(Record& record, Visitor& visitor) {
  const ModelConfig none;
  visitor("architecture", record.architecture, none.architecture);
  visitor("vocab_size", record.vocab_size, none.vocab_size);
  visitor("hidden_size", record.hidden_size, none.hidden_size);
  visitor("intermediate_size", record.intermediate_size, none.intermediate_size);
  visitor("layer_count", record.layer_count, none.layer_count);
  visitor("head_count", record.head_count, none.head_count);
  visitor("kv_head_count", record.kv_head_count, none.kv_head_count);
  visitor("head_dim", record.head_dim, none.head_dim);
  visitor("context_length", record.context_length, none.context_length);
  visitor("expert_count", record.expert_count, none.expert_count);
  visitor("experts_per_token", record.experts_per_token, none.experts_per_token);
  visitor("norm_epsilon", record.norm_epsilon, none.norm_epsilon);
  visitor("rope_theta", record.rope_theta, none.rope_theta);
  visitor("rope_theta_local", record.rope_theta_local, none.rope_theta_local);
  visitor("rotary_dim", record.rotary_dim, none.rotary_dim);
  visitor("rope_scaling", record.rope_scaling, none.rope_scaling);
  visitor("sliding_window", record.sliding_window, none.sliding_window);
  visitor("sliding_layers", record.sliding_layers, none.sliding_layers);
  visitor("rope_layers", record.rope_layers, none.rope_layers);
  visitor("attention_scale", record.attention_scale, none.attention_scale);
  visitor("attention_softcap", record.attention_softcap, none.attention_softcap);
  visitor("final_softcap", record.final_softcap, none.final_softcap);
  visitor("attention_scale_by_layer", record.attention_scale_by_layer, none.attention_scale_by_layer);
  visitor("bidirectional_attention", record.bidirectional_attention, none.bidirectional_attention);
  visitor("activation", record.activation, none.activation);
  visitor("tied_embeddings", record.tied_embeddings, none.tied_embeddings);
  visitor("torch_dtype", record.torch_dtype, none.torch_dtype);
}

}  // namespace

Json to_json(const ModelConfig& config) {
  FieldWriter writer;
  visit_fields(config, writer);
  return writer.take();
}

ModelConfig model_config_from_json(const Json& json, std::string_view where) {
  ModelConfig config;
  FieldReader reader(json, std::string(where));
  visit_fields(config, reader);
  reader.finish();
  return config;
}

}  // namespace ingot::tensor
