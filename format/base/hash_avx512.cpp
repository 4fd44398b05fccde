// XXH3 compiled with -mavx512f.
#include "format/base/hash_variant.h"

const ingot::HashVariant& ingot::hash_avx512_variant() noexcept { return kThisVariant; }
