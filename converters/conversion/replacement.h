// What --force may replace.
#pragma once

#include <filesystem>

#include "format/tensor/model.h"

namespace ingot::convert {

/// A regular file, or a directory with nothing but a checkpoint, as far as names tell: throws io where `output` is a
/// directory without one or has a file that is none of a checkpoint and that `model` does not bring along, and where it
/// is neither file nor directory.
void refuse_to_replace_other_things(const tensor::Model& model, const std::filesystem::path& output);

}  // namespace ingot::convert
