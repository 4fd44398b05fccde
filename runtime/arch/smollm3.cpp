// SmolLM3: as Llama, with layers that do not rotate (ModelConfig::rope_layers).
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_smollm3(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_smollm3(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {}, make_pre_norm_layer);
}

}  // namespace ingot::runtime
