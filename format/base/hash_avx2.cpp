// XXH3 compiled with -mavx2.
#include "format/base/hash_variant.h"

const ingot::HashVariant& ingot::hash_avx2_variant() noexcept { return kThisVariant; }
