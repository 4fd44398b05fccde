// A file system of a few bytes, for tests of what happens when a disk is full.
#pragma once

#include <sys/mount.h>

#include <filesystem>
#include <string>

namespace ingot::test {

/// Mounted in `directory`, which is made, for one test case; mounted() is false where that is not allowed.
class SmallDisk {
 public:
  SmallDisk(const std::filesystem::path& directory, std::uint64_t bytes) : directory_(directory) {
    std::filesystem::create_directory(directory_);
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = ::mount("tmpfs", directory_.c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.c_str(), MNT_DETACH);
  }
  [[nodiscard]] bool mounted() const noexcept { return mounted_; }

 private:
  std::filesystem::path directory_;
  bool mounted_ = false;
};

}  // namespace ingot::test
