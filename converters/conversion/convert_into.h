// The conversion behind convert() and join().
#pragma once

#include <filesystem>
#include <vector>

#include "converters/conversion/staging.h"
#include "converters/registry.h"

namespace ingot::convert {

/// `journals`: of parts that lie in `staging`; what they record is kept and the rest of the whole is made. Without a
/// `staging` of the caller it makes its own.
ConversionReport convert_into(const tensor::Model& model, const std::filesystem::path& output,
                              const ConvertOptions& options, const std::vector<std::filesystem::path>& journals,
                              Staging* staging);

}  // namespace ingot::convert
