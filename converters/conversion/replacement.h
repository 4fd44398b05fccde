// What --force may replace.
#pragma once

#include <filesystem>

#include "format/tensor/model.h"

namespace ingot::convert {

/// Models, and nothing else that happens to bear the name or lies in their directory: throws io where `output` is a
/// directory without a checkpoint, has a file that is none of a checkpoint and that `model` does not bring along, or is
/// no regular file.
void refuse_to_replace_other_things(const tensor::Model& model, const std::filesystem::path& output);

}  // namespace ingot::convert
