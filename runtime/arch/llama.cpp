// The Llama family (Llama 1 to 3, Mistral, SmolLM2): norms before attention and MLP, rotary positions with or without
// scaling, grouped queries, gated SiLU; Mistral with a sliding window. Biases are used where present.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_llama(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {}, make_pre_norm_layer);
}

}  // namespace ingot::runtime
