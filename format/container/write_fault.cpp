#include "format/container/write_fault.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "format/container/container.h"

namespace ingot::container {
namespace {

constexpr std::size_t kPieceBytes = 16;

struct KilledByTest {};  // not a std::exception: no handler takes it for an error

/// The one process-wide state of this folder: null outside crash tests.
struct FaultState {
  std::mutex mutex;
  std::function<bool(std::uint64_t)> hook;
  std::uint64_t next_ordinal = 0;
};

FaultState& fault_state() {
  static FaultState state;
  return state;
}

void ask_hook(FaultState& state) {
  const std::lock_guard lock(state.mutex);
  if (state.hook && !state.hook(state.next_ordinal++)) throw KilledByTest{};
}

}  // namespace

void set_write_fault_hook(std::function<bool(std::uint64_t)> hook) {
  FaultState& state = fault_state();
  const std::lock_guard lock(state.mutex);
  state.hook = std::move(hook);
  state.next_ordinal = 0;
}

void guarded_write(std::uint64_t offset, Bytes bytes, const std::function<void(std::uint64_t, Bytes)>& write) {
  FaultState& state = fault_state();
  bool has_hook = false;
  {
    const std::lock_guard lock(state.mutex);
    has_hook = static_cast<bool>(state.hook);
  }
  if (!has_hook) {
    write(offset, bytes);
    return;
  }
  do {
    ask_hook(state);
    const Bytes piece = bytes.first(std::min(kPieceBytes, bytes.size()));
    write(offset, piece);
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  } while (!bytes.empty());
}

void guarded_step() {
  guarded_write(0, Bytes{}, [](std::uint64_t, Bytes) {});
}

}  // namespace ingot::container
