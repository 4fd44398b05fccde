// A hidden directory beside the output: a conversion is written and proven in it, then renamed. Nothing partial bears
// the final name. What an ended process left there can be continued.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "converters/layout.h"

namespace ingot::convert {

struct StagingOptions {
  bool overwrite = false;    // publish() replaces what stands there
  bool resume = false;       // keep what an ended process left
  std::optional<Part> part;  // several processes share the place
  bool joins = false;        // of parts that lie there
};

/// Move-free; removes the place and all it holds when destroyed, unless keep() was called or it is that of a part.
///
///     .OUT.partial/lock, journal     the place: locked while a process works in it
///     .OUT.partial/files/OUT         what is being written, under its final names
///     .OUT.partial/replaced/OUT      what stood there, while the new files get its names
///     .OUT.partial/removed/FILE      skeletons of source files that were converted and removed
class Staging {
 public:
  static constexpr std::string_view kRemovedDirectory = "removed";

  /// Throws io when `output` cannot be written beside, exists and `overwrite` is not set, another process is writing
  /// it, files of the source were removed for it and it is not to be resumed, or parts of it lie there that it neither
  /// joins nor may overwrite. Undoes a publication that was cut short.
  Staging(std::filesystem::path output, const StagingOptions& options);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  /// Where the work for `output` lies, or would lie.
  [[nodiscard]] static std::filesystem::path place_of(const std::filesystem::path& output);
  /// Throws invalid_value for an output without a name, io where its directory is missing or, without `overwrite`,
  /// where something stands there and nothing of a conversion into it was left.
  static void require_place(const std::filesystem::path& output, bool overwrite);
  /// Is there a journal of a conversion into `output` that no process is working on?
  [[nodiscard]] static bool has_leftovers(const std::filesystem::path& output) noexcept;
  /// Of the part, or of the whole.
  [[nodiscard]] std::filesystem::path journal_path() const;
  /// Journals of parts that were begun, by number.
  [[nodiscard]] std::vector<std::pair<Part, std::filesystem::path>> part_journals() const;

  /// What an earlier run left of source files that it removed (source_removal.h).
  [[nodiscard]] std::filesystem::path removed() const { return place_ / kRemovedDirectory; }

  /// Where the writer writes: the final file name inside the staging directory.
  [[nodiscard]] std::filesystem::path target() const { return files_ / output_.filename(); }
  [[nodiscard]] const std::filesystem::path& files() const noexcept { return files_; }
  /// What the reader opens: target(), or the first file where the writer split its output into several names.
  [[nodiscard]] std::filesystem::path readable() const;
  /// `message` with the final place instead of the staging directory: what a person wrote and knows.
  [[nodiscard]] std::string with_final_paths(std::string message) const;
  /// Bytes of all staged files.
  [[nodiscard]] std::uint64_t bytes() const;
  /// The same as the disk counts them: a partial file may have holes.
  [[nodiscard]] std::uint64_t bytes_on_disk() const;
  /// Bytes that a user can still write there.
  [[nodiscard]] std::uint64_t free_bytes() const;
  /// Starts writing the staged files to the disk without waiting, so that a later publish(true) waits less.
  void start_writeback() const noexcept;
  /// Leaves the place for a later process.
  void keep() noexcept { keeps_ = true; }
  /// The opposite, which holds at the start.
  void discard() noexcept { keeps_ = false; }
  /// With `sync` makes every file durable. Moves what is in the way, the files that belong to it and `obsolete` aside
  /// (an old `output` first: it never stands beside files that it does not fit), renames everything beside `output`,
  /// target() last; makes the renames durable. A failure puts everything back. Returns the final names, target() first.
  std::vector<std::filesystem::path> publish(bool sync, const std::vector<std::filesystem::path>& obsolete);

 private:
  [[nodiscard]] std::filesystem::path final_path(const std::filesystem::path& staged) const;
  void lock();
  void refuse_parts() const;
  void undo_torn_publication() const;
  void remove_leftovers() const;

  std::filesystem::path output_;
  std::filesystem::path place_, files_, replaced_;
  StagingOptions options_;
  bool keeps_ = false;
  int lock_ = -1, part_lock_ = -1;
};

/// Files beside `output` that belong to the model that stands there: members of a set, shards.
[[nodiscard]] std::vector<std::filesystem::path> files_of_model(const std::filesystem::path& output);
/// The files that the tensors of a model come from, whatever it was read as; those of them that are there.
[[nodiscard]] std::vector<std::filesystem::path> weight_files_of(const tensor::Model& model);

}  // namespace ingot::convert
