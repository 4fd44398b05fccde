// Gemma 2: norms before and behind attention and MLP, soft caps on attention scores and logits, windows in every other
// layer, gated GELU, scaled embeddings.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_gemma2(const Loader& loader, std::uint64_t context);

namespace {

constexpr DecoderTraits kTraits = {.activation = "gelu_tanh", .norm_plus_one = true, .scaled_embedding = true};

}  // namespace

std::unique_ptr<Network> load_gemma2(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, kTraits, make_sandwich_norm_layer);
}

}  // namespace ingot::runtime
