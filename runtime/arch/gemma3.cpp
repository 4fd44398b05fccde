// Gemma 3 (text): as Gemma 2 without soft caps, with norms of every head of queries and keys, windows in five layers of
// six, and rotary frequencies of their own there.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_gemma3(const Loader& loader, std::uint64_t context);

namespace {

constexpr DecoderTraits kTraits = {.activation = "gelu_tanh",
                                   .query_key_norm = QueryKeyNorm::per_head,
                                   .norm_plus_one = true,
                                   .scaled_embedding = true};

}  // namespace

std::unique_ptr<Network> load_gemma3(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, kTraits, make_sandwich_norm_layer);
}

}  // namespace ingot::runtime
