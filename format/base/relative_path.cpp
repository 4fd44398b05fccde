#include "format/base/relative_path.h"

#include <algorithm>

namespace ingot {

std::string_view relative_path_fault(std::string_view path) noexcept {
  if (path.empty()) return "is empty";
  if (path.find_first_of(std::string_view("\\\0", 2)) != std::string_view::npos) return "holds a backslash or a NUL";
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view component = path.substr(begin, end - begin);
    if (component.empty()) return "is absolute or has an empty component";
    if (component == "." || component == "..") return "has a component . or ..";
    begin = end + 1;
  }
  return {};
}

}  // namespace ingot
