// Python's pickle as data: protocols 2 to 5, the operations that torch.save and its kin write, and nothing that runs.
// Goals: never call, import or look up anything; every count has a limit that is checked before memory is taken; text
// and bytes are views of the file. Non-goals: protocols 0 and 1, classes, extension registries, out-of-band buffers.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"

namespace ingot::convert {

inline constexpr std::uint64_t kMaxPickleBytes = std::uint64_t{64} << 20;
/// Also entries of the stack, of the memo, marks. What a pickle of the largest counts takes stays below 64 MB.
inline constexpr std::size_t kMaxPickleValues = std::size_t{1} << 20;
inline constexpr std::size_t kMaxPickleItems = std::size_t{1} << 22;  // of all containers, with the room they grow into

/// Where a value lies among those of its pickle. Containers hold these, so that sharing and cycles cost nothing.
using PickleIndex = std::uint32_t;

struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,      // number
    integer,      // number
    big_integer,  // text: two's complement, little-endian, more than 8 bytes
    real,         // text: 8 bytes, big-endian
    text,
    bytes,   // text
    tuple,   // items
    list,    // items; sets too
    dict,    // items: key, value, key, value, ...
    global,  // number: what PickleRules::global gave
    object,  // tag and number: what PickleRules made of a call
  };
  Kind kind = Kind::none;
  std::uint8_t tag = 0;
  std::uint32_t text_bytes = 0;
  std::uint32_t first_item = 0, item_count = 0;  // Pickle::items()
  std::int64_t number = 0;
  const char* text_begin = nullptr;  // borrowed from the file
  [[nodiscard]] std::string_view text() const noexcept { return {text_begin, text_bytes}; }
};

class Pickle;

/// Says what a pickle may refer to and what stands for the result. Throws Error for everything else.
class PickleRules {
 public:
  virtual ~PickleRules() = default;
  /// A number for `module.name`; negative: not allowed.
  [[nodiscard]] virtual std::int64_t global(std::string_view module, std::string_view name) const = 0;
  /// The value that stands for `function(*arguments)`. `where`: file and offset, for messages.
  [[nodiscard]] virtual PickleValue call(const Pickle& pickle, std::int64_t function,
                                         std::span<const PickleIndex> arguments, const std::string& where) = 0;
  /// The value that stands for a persistent id.
  [[nodiscard]] virtual PickleValue persistent(const Pickle& pickle, const PickleValue& id,
                                               const std::string& where) = 0;
};

/// One pickle, read to its end.
class Pickle {
 public:
  /// Reads from the reader's position through STOP. Throws truncated, limit_exceeded, invalid_value (a malformed
  /// pickle), unsupported (an operation or a global outside the rules; the message names it).
  Pickle(ByteReader& reader, PickleRules& rules);

  [[nodiscard]] const PickleValue& root() const noexcept { return values_[root_]; }
  [[nodiscard]] const PickleValue& at(PickleIndex index) const noexcept { return values_[index]; }
  /// Of a container; valid until the pickle is read on.
  [[nodiscard]] std::span<const PickleIndex> items(const PickleValue& value) const noexcept {
    return std::span(items_).subspan(value.first_item, value.item_count);
  }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;  // grows without a second copy of itself
  std::vector<PickleIndex> items_;  // of all containers; one that grows beyond its room moves to the end
  PickleIndex root_ = 0;
};

}  // namespace ingot::convert
