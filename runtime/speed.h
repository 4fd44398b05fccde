// How fast a model runs here, and how fast this machine could read its weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/read_probe.h"
#include "runtime/runtime.h"

namespace ingot::runtime {

/// One round.
struct RoundSpeed {
  double prompt_seconds = 0;  // of all prompt tokens
  double token_seconds = 0;   // of one generated token: median over the round
  double reading = 0;         // bytes per second of the probe, median of passes between the tokens; 0: none was made
};
/// Reads a prompt of `prompt_tokens` and then generates `new_tokens` (at least 1). Both fit the context of the session,
/// which is reset before. `stop` is asked after every step; true ends the round early (throws nothing, times are of
/// what was done).
[[nodiscard]] RoundSpeed time_round(Session& session, std::uint64_t prompt_tokens, std::uint64_t new_tokens,
                                    ReadProbe& probe, const std::function<bool()>& stop);

/// Products of the matrices of one scheme, with the kernels of one instruction set: medians.
struct SchemeSpeed {
  std::string scheme;        // tensor::describe()
  std::string_view kernels;  // kernels::Variant::name
  std::uint64_t bytes = 0;   // stored, of the matrices that were multiplied with one vector
  double seconds = 0;        // for all of these
  double reading = 0;        // bytes per second of the probe, in passes between the products
  // Multiplications and additions of the smallest of them with kMaxVectors vectors; 0: not measured, too slow.
  std::uint64_t prompt_operations = 0;
  double prompt_seconds = 0;  // for these
};
/// Measures matrices of each scheme of the model, up to `bytes_each` of a scheme, with the kernels that INGOT_KERNELS
/// or the machine selects and with each lesser set. Foreign layouts are copied that much. `rounds` is at least 1; a
/// slow product is not repeated. `stop` is asked before each set; true ends the list early.
[[nodiscard]] std::vector<SchemeSpeed> time_schemes(const tensor::Model& model, Numerics numerics,
                                                    std::uint64_t bytes_each, int rounds, ReadProbe& probe,
                                                    const std::function<bool()>& stop);

/// Of this process, in bytes; zeros where the system does not tell.
struct Memory {
  std::uint64_t resident = 0;  // now
  std::uint64_t owned = 0;     // of that: not pages of files
};
[[nodiscard]] Memory memory_now();

}  // namespace ingot::runtime
