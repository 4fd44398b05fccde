// How long a conversion will take: an estimate for people, from the sizes of the work and the speed of this machine.
#pragma once

#include "converters/registry.h"

namespace ingot::convert {

/// Fills expected_seconds of every outcome: decoding is timed on a sample of each scheme, the rest follows from the
/// table of rates in work_time.cpp. Looking through the values for the forecast itself is over by then and not
/// counted, nor is the disk behind the page cache.
void estimate_times(const tensor::Model& model, bool prove, Forecast& forecast);

/// The most memory that the process will own (mapped files are the kernel's to drop): fixed buffers per thread, and
/// the largest tensor where the target's packer wants all of its planes at hand. `output`: what will be written; planes
/// of large tensors lie beside it where that place can hold them. Empty: it is not known, and they are not counted.
[[nodiscard]] std::uint64_t estimated_memory(const tensor::Model& model, const Layout& layout, const Forecast& forecast,
                                             const std::filesystem::path& output);

}  // namespace ingot::convert
