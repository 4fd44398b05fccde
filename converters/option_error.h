// A word of the command line that means nothing to the layout it is for: the program answers with the status of wrong
// usage.
#pragma once

#include "format/base/error.h"

namespace ingot::convert {

struct OptionError : Error {
  explicit OptionError(const std::string& message) : Error(ErrorKind::unsupported, message) {}
};

}  // namespace ingot::convert
