// Qwen 2 and 2.5: as Llama, with biases on queries, keys and values.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_qwen2(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_qwen2(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {.query_key_value_bias = true}, make_pre_norm_layer);
}

}  // namespace ingot::runtime
