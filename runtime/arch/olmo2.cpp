// OLMo 2: norms behind attention and MLP only, and of the whole rows of queries and keys.
#include "runtime/decoder_layers.h"

namespace ingot::runtime {

std::unique_ptr<Network> load_olmo2(const Loader& loader, std::uint64_t context);

std::unique_ptr<Network> load_olmo2(const Loader& loader, std::uint64_t context) {
  return make_decoder(loader, context, {.query_key_norm = QueryKeyNorm::whole_row}, make_post_norm_layer);
}

}  // namespace ingot::runtime
