// The check behind container::verify and container::compact. Internal to format/container.
#pragma once

#include "format/container/container.h"

namespace ingot::container {

/// verify() without values, and of a manifest without its members.
[[nodiscard]] VerifyResult verify_one_file(const std::filesystem::path& path, const Progress& progress);

}  // namespace ingot::container
