// What std::filesystem throws, as the error of this library.
#pragma once

#include <filesystem>
#include <utility>

#include "format/base/error.h"

namespace ingot {

/// "path: action: reason", kind io.
[[nodiscard]] Error as_error(const std::filesystem::filesystem_error& error);

/// Runs `work`, whose filesystem_error becomes an Error.
template <class Work>
decltype(auto) with_file_errors(Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::filesystem::filesystem_error& error) {
    throw as_error(error);
  }
}

}  // namespace ingot
