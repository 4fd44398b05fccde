// Files of torch.save: the ZIP archive (PyTorch 1.6 and later) and the stream of pickles before it. Opening reads the
// pickles and no tensor data; nothing in a file is ever executed (torch_objects.h lists what it may refer to).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "converters/files/weight_fact.h"
#include "converters/files/weight_file.h"
#include "format/base/byte_reader.h"

namespace ingot::convert {

/// Do these first bytes begin a file of torch.save, or any binary pickle? The latter, so that reading can say what is
/// wrong with it. A ZIP archive counts when its first entry belongs to torch.
[[nodiscard]] bool looks_like_torch(Bytes first_bytes) noexcept;

struct TorchState {
  std::vector<WeightEntry> entries;  // in the order of the state dict
  WeightFacts facts;
  std::vector<std::string> notes;  // what the file holds besides, one sentence each
};

/// The state dict of a file. It may lie inside other dictionaries ({"state_dict": {...}}) when it is clear which one is
/// meant. Throws truncated, limit_exceeded, invalid_value, unsupported (compressed, big-endian, a class that is no
/// tensor, no or several state dicts: the message says what is inside). `where` names the file.
[[nodiscard]] TorchState read_torch_file(Bytes file, std::string_view where);

}  // namespace ingot::convert
