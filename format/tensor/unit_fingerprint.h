// The fingerprint of a tensor whose units pass through memory a window at a time, for writers that have them there
// anyway: the source is not read a second time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "format/tensor/canonical_tiles.h"
#include "format/tensor/fingerprint.h"

namespace ingot::tensor {

class UnitFingerprint {
 public:
  /// Units that lie in memory, and the blocks of values that are whole in them.
  class Window {
   public:
    [[nodiscard]] std::uint64_t block_count() const noexcept { return last_ - first_; }
    /// Blocks [begin, end) of the window. Thread-safe for different blocks.
    void add(std::uint64_t begin, std::uint64_t end);

   private:
    friend class UnitFingerprint;
    Window(UnitFingerprint& owner, CanonicalTiles::Units units);
    UnitFingerprint& owner_;
    CanonicalTiles::Units units_;
    std::uint64_t first_, last_;  // blocks of the tensor
  };

  /// Is it a tensor whose blocks can be made of some of its units: one matrix in tiles that CanonicalTiles takes, rows
  /// in order?
  [[nodiscard]] static bool takes(const Tensor& tensor);
  /// Windows that begin and end at multiples of so many units have no block across their borders.
  [[nodiscard]] static std::uint64_t units_of_whole_blocks(const Tensor& tensor);
  /// Borrows the tensor.
  explicit UnitFingerprint(const Tensor& tensor);
  UnitFingerprint(const UnitFingerprint&) = delete;
  UnitFingerprint& operator=(const UnitFingerprint&) = delete;

  /// Units [begin, end), `planes` by plane (nothing for planes that are not sliced), which stay where they are until
  /// the window's blocks have been added. Every unit is in one window. The window lives as long as this object.
  /// Thread-safe.
  [[nodiscard]] Window& open(std::uint64_t unit_begin, std::uint64_t unit_end, std::vector<Bytes> planes);
  /// Does every block lie in a window? After all calls of open().
  [[nodiscard]] bool is_all_in_windows() const { return blocks_outside_windows() == 0; }
  /// Those that finish() has to read. After all calls of open().
  [[nodiscard]] std::uint64_t blocks_outside_windows() const;
  /// Reads what lies across the borders of windows from the tensor.
  [[nodiscard]] Hash128 finish();

 private:
  const Tensor& tensor_;
  CanonicalTiles tiles_;
  FingerprintBuilder builder_;
  std::mutex mutex_;          // of what follows
  std::vector<bool> opened_;  // by block: is it in a window?
  std::deque<std::unique_ptr<Window>> windows_;
};

/// About `some` units, at least one: a multiple of UnitFingerprint::units_of_whole_blocks() where that is not many
/// more. For who reads a tensor that somebody else makes a fingerprint of.
[[nodiscard]] std::uint64_t units_in_whole_blocks(const Tensor& tensor, std::uint64_t some);

}  // namespace ingot::tensor
