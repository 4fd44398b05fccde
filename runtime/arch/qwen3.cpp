// Qwen 3: as Llama, with a norm of every head of queries and keys before they rotate.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_qwen3(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_qwen3(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {.query_key_norm = QueryKeyNorm::per_head}, make_pre_norm_layer);
}

}  // namespace ingot::runtime
