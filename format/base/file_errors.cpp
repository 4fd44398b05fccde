#include "format/base/file_errors.h"

#include <string>
#include <system_error>

namespace ingot {

Error as_error(const std::filesystem::filesystem_error& error) {
  // The base class knows "action: reason"; what filesystem_error makes of it puts the paths in brackets behind.
  const std::string message = error.std::system_error::what();
  return Error(ErrorKind::io, error.path1().empty() ? message : error.path1().string() + ": " + message);
}

}  // namespace ingot
