// The hot loops compiled with -mavx2 -mf16c.
#include "format/tensor/bulk_loops.h"

const ingot::tensor::BulkLoops& ingot::tensor::bulk_avx2() noexcept { return kLoops; }
