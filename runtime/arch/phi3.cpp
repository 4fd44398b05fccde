// Phi-3, 3.5 and 4-mini: as Llama, with one matrix for queries, keys and values and one for gate and up; LongRoPE and
// heads of which a part rotates.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_phi3(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_phi3(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {.fused = true}, make_pre_norm_layer);
}

}  // namespace ingot::runtime
