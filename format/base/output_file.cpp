#include "format/base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace ingot {
namespace {

[[noreturn]] void throw_io(const std::filesystem::path& path, std::string_view action, int error_number,
                           std::uint64_t offset = Error::kNoOffset) {
  throw Error(ErrorKind::io,
              path.string() + ": " + std::string(action) + ": " + std::generic_category().message(error_number),
              offset);
}

/// Runs create(name), which is negative where it fails, for `<path>.<pid>.tmp` or, where another writer holds that
/// name, `<path>.<pid>.<n>.tmp`.
template <class Create>
int create_beside(const std::filesystem::path& path, std::filesystem::path& temporary_path, const Create& create) {
  const std::string stem = path.string() + "." + std::to_string(::getpid());
  constexpr int kMaxAttempts = 1000;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    temporary_path = stem + (attempt == 0 ? std::string() : std::string(".").append(std::to_string(attempt))) + ".tmp";
    const int result = create(temporary_path.c_str());
    if (result >= 0) return result;
    if (errno != EEXIST && errno != EINTR) throw_io(path, "cannot create", errno);
  }
  throw_io(path, "cannot create", EEXIST);
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::string link_of(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

/// A file without a name that can be given one; negative where the system has no such files.
int create_unnamed(const std::filesystem::path& directory) noexcept {
  const int descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (descriptor < 0 || ::access(link_of(descriptor).c_str(), F_OK) == 0) return descriptor;
  ::close(descriptor);
  return -1;
}

/// `<path>.partial` with what an earlier writer left in it, or in `path` itself.
int continue_beside(const std::filesystem::path& path, std::filesystem::path& temporary_path) {
  temporary_path = path.string() + ".partial";
  if (::access(temporary_path.c_str(), F_OK) != 0 && ::rename(path.c_str(), temporary_path.c_str()) != 0 &&
      errno != ENOENT)
    throw_io(path, "cannot rename to continue it", errno);
  const int descriptor = ::open(temporary_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_io(temporary_path, "cannot create", errno);
  return descriptor;
}

}  // namespace

void sync_directory_of(const std::filesystem::path& path) {
  const std::filesystem::path directory = directory_of(path);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a directory that may be written but not read
  // File systems that cannot sync a directory say EINVAL.
  const int error_number = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (error_number != 0 && error_number != EINVAL && error_number != ENOTSUP)
    throw_io(directory, "cannot sync", error_number);
}

OutputFile::OutputFile(std::filesystem::path path, Leftover leftover) : path_(std::move(path)), leftover_(leftover) {
  struct stat status {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode))
    throw Error(ErrorKind::io, path_.string() + ": exists and is not a regular file");
  const bool continues = leftover_ == Leftover::kept;
  descriptor_ = continues ? continue_beside(path_, temporary_path_) : create_unnamed(directory_of(path_));
  if (descriptor_ < 0) {
    descriptor_ = create_beside(path_, temporary_path_, [](const char* name) {
      return ::open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    });
  }
  struct stat left {};
  continues_ = continues && ::fstat(descriptor_, &left) == 0 && left.st_size > 0;
  if (exists && !continues) (void)::fchmod(descriptor_, status.st_mode & 0777);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_path_(std::move(other.temporary_path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      position_(other.position_),
      leftover_(other.leftover_),
      continues_(other.continues_),
      end_(other.end_.load()) {}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (leftover_ == Leftover::removed && !temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

void OutputFile::give_name() {
  if (!temporary_path_.empty()) return;
  const std::string link = link_of(descriptor_);
  std::filesystem::path name;
  create_beside(path_, name, [&](const char* given) {
    return ::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, given, AT_SYMLINK_FOLLOW);
  });
  temporary_path_ = std::move(name);
}

void OutputFile::write(Bytes bytes) {
  write_at(position_, bytes);
  position_ += bytes.size();
}

void OutputFile::write_at(std::uint64_t offset, Bytes bytes) {
  if (descriptor_ < 0) throw Error(ErrorKind::io, path_.string() + ": written to after commit");
  constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (offset > kMaxOffset || bytes.size() > kMaxOffset - offset) throw_io(path_, "cannot write", EFBIG, offset);
  extend_end(offset + bytes.size());
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io(path_, "cannot write at byte " + std::to_string(offset), errno, offset);
    if (count == 0) throw_io(path_, "cannot write at byte " + std::to_string(offset), ENOSPC, offset);
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

bool OutputFile::read_at(std::uint64_t offset, std::span<std::byte> out) const noexcept {
  constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (descriptor_ < 0 || offset > kMaxOffset || out.size() > kMaxOffset - offset) return false;
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    offset += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

void OutputFile::extend_end(std::uint64_t end) noexcept {
  std::uint64_t known = end_.load(std::memory_order_relaxed);
  while (known < end && !end_.compare_exchange_weak(known, end, std::memory_order_relaxed)) {
  }
}

void OutputFile::clear(std::uint64_t begin, std::uint64_t end) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  for (; continues_ && begin < end; begin += std::min<std::uint64_t>(kZeros.size(), end - begin))
    write_at(begin, Bytes(kZeros).first(std::min<std::uint64_t>(kZeros.size(), end - begin)));
}

void OutputFile::reserve(std::uint64_t size_bytes) {
  if (descriptor_ < 0) throw Error(ErrorKind::io, path_.string() + ": reserved after commit");
  if (size_bytes == 0) return;
  if (size_bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()))
    throw_io(path_, "cannot reserve", EFBIG);
  extend_end(size_bytes);
  const auto size = static_cast<off_t>(size_bytes);
  // fallocate and not posix_fallocate: glibc imitates the latter by writing every block where the file system cannot
  // reserve.
  int result = 0;
  do {
    result = ::fallocate(descriptor_, 0, 0, size);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS)
    throw_io(path_, "cannot reserve " + std::to_string(size_bytes) + " bytes", errno);
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_io(path_, "cannot read its status", errno);
  if (status.st_size < size && ::ftruncate(descriptor_, size) != 0) throw_io(path_, "cannot extend", errno);
}

void OutputFile::commit(bool durable) {
  if (descriptor_ < 0) throw Error(ErrorKind::io, path_.string() + ": committed twice");
  // What an earlier writer left may be longer.
  if (leftover_ == Leftover::kept && ::ftruncate(descriptor_, static_cast<off_t>(end_.load())) != 0)
    throw_io(path_, "cannot cut to its size", errno);
  if (durable && ::fsync(descriptor_) != 0) throw_io(path_, "cannot sync", errno);
  give_name();
  // Some file systems report a failed write only here; after close the descriptor is gone whatever it says.
  const int close_error = ::close(std::exchange(descriptor_, -1)) == 0 ? 0 : errno;
  if (close_error != 0 && close_error != EINTR) {
    if (leftover_ == Leftover::removed) ::unlink(temporary_path_.c_str());
    throw_io(path_, "cannot close", close_error);
  }
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int rename_error = errno;
    if (leftover_ == Leftover::removed) ::unlink(temporary_path_.c_str());
    throw_io(path_, "cannot rename " + temporary_path_.string() + " onto it", rename_error);
  }
  if (durable) sync_directory_of(path_);
}

void write_file_atomically(const std::filesystem::path& path, Bytes bytes) {
  OutputFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace ingot
