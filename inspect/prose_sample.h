// Our own text for smoke tests: prose that any model of English predicts well, and beginnings to continue.
#pragma once

#include <array>
#include <string_view>

namespace ingot::inspect {

/// About 500 words. Part of what makes figures comparable between versions: not to be changed lightly.
extern const std::string_view kProseSample;

extern const std::array<std::string_view, 5> kPrompts;

}  // namespace ingot::inspect
