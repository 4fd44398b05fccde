// A hidden directory beside the output: a conversion is written and proven in it, then renamed. Nothing partial bears
// the final name.
#pragma once

#include <filesystem>
#include <string>

namespace ingot::convert {

/// Move-free; removes the directory and all it holds when destroyed.
class Staging {
 public:
  /// Throws io when `output` cannot be written beside, or exists and `overwrite` is not set.
  Staging(std::filesystem::path output, bool overwrite);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  /// Where the writer writes: the final file name inside the staging directory.
  [[nodiscard]] std::filesystem::path target() const { return directory_ / output_.filename(); }
  /// What the reader opens: target(), or the first file where the writer split its output into several names.
  [[nodiscard]] std::filesystem::path readable() const;
  /// `message` with the final place instead of the staging directory: what a person wrote and knows.
  [[nodiscard]] std::string with_final_paths(std::string message) const;
  /// Bytes of all staged files.
  [[nodiscard]] std::uint64_t bytes() const;
  /// Starts writing the staged files to the disk without waiting, so that a later publish(true) waits less.
  void start_writeback() const noexcept;
  /// With `sync` makes every file durable; renames everything beside `output`, target() last; makes the renames durable. Where one of the
  /// other names is taken, an old `output` goes first: it never stands beside files that it does not fit.
  void publish(bool sync);

 private:
  [[nodiscard]] std::filesystem::path final_path(const std::filesystem::path& staged) const;
  void publish_one(const std::filesystem::path& staged);

  std::filesystem::path output_;
  std::filesystem::path directory_;
  bool overwrite_;
};

}  // namespace ingot::convert
