// Text and JSON of the integrity check of one file.
#pragma once

#include <string>

#include "format/base/json.h"
#include "format/container/container.h"
#include "inspect/text.h"

namespace ingot::inspect {

[[nodiscard]] std::string verify_text(const std::string& path, const container::VerifyResult& result, bool values,
                                      double seconds, const TextStyle& style);
[[nodiscard]] Json verify_json(const std::string& path, const container::VerifyResult& result, double seconds);

}  // namespace ingot::inspect
