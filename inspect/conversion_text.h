// Text and JSON of a conversion: the forecast before it, the proof after it.
#pragma once

#include <string>

#include "converters/registry.h"
#include "format/base/json.h"
#include "inspect/text.h"

namespace ingot::inspect {

/// One row per (source scheme, target scheme, class), then the reasons of what is not exact: a line for each kind,
/// which names the first tensor and counts the others. forecast_json() has every tensor with its reason.
[[nodiscard]] std::string forecast_text(const convert::Forecast& forecast, const TextStyle& style);
/// What the conversion needs: all of its output is staged beside the final place, which keeps what stands there until
/// the end.
[[nodiscard]] std::string needs_text(const convert::Forecast& forecast, std::uint64_t disk_bytes);
/// `dropped`: names of tensors that are left out.
[[nodiscard]] Json forecast_json(const convert::Forecast& forecast, std::uint64_t disk_bytes,
                                 const std::vector<std::string>& dropped = {});

/// Counts and worst errors by class, the fingerprints before and after, times and rates.
[[nodiscard]] std::string proof_text(const convert::ConversionReport& report, const TextStyle& style);
[[nodiscard]] Json report_json(const convert::ConversionReport& report);

}  // namespace ingot::inspect
