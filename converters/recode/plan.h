// What recode() decides before it looks at parameters. Internal to recode*.cpp.
#pragma once

#include <memory>
#include <string>

#include "converters/recode/recode.h"
#include "converters/recode/rows.h"

namespace ingot::convert::recoding {

struct Plan {
  std::shared_ptr<Conversion> conversion;
  std::string refusal;   // not empty: impossible whatever the parameters are
  bool settled = false;  // exact whatever the parameters are
};

/// Schemes whose codes are numbers or table entries of at most 8 bits. `target` has its shape, scheme, packing and
/// transforms.
[[nodiscard]] Plan make_plan(const tensor::Tensor& source, const tensor::Tensor& target);

}  // namespace ingot::convert::recoding
