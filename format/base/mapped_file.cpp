// mmap and small whole-file reads. A file that another process truncates while it is mapped raises SIGBUS: writers must
// replace files by renaming (OutputFile does).
#include "format/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace ingot {
namespace {

[[noreturn]] void throw_io(const std::filesystem::path& path, std::string_view action, int error_number) {
  throw Error(ErrorKind::io,
              path.string() + ": " + std::string(action) + ": " + std::generic_category().message(error_number));
}

/// An open read-only descriptor of a regular file and its size.
class InputDescriptor {
 public:
  explicit InputDescriptor(const std::filesystem::path& path) {
    do {
      descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block here
    } while (descriptor_ < 0 && errno == EINTR);
    if (descriptor_ < 0) throw_io(path, "cannot open", errno);
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail(path, "cannot read its status", errno);
    if (S_ISDIR(status.st_mode)) fail(path, "cannot open", EISDIR);
    if (!S_ISREG(status.st_mode)) {
      ::close(descriptor_);
      throw Error(ErrorKind::io, path.string() + ": not a regular file");
    }
    size_bytes_ = static_cast<std::uint64_t>(status.st_size);
  }
  InputDescriptor(const InputDescriptor&) = delete;
  InputDescriptor& operator=(const InputDescriptor&) = delete;
  ~InputDescriptor() { ::close(descriptor_); }

  [[nodiscard]] int get() const noexcept { return descriptor_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }

 private:
  [[noreturn]] void fail(const std::filesystem::path& path, std::string_view action, int error_number) {
    ::close(descriptor_);
    throw_io(path, action, error_number);
  }

  int descriptor_ = -1;
  std::uint64_t size_bytes_ = 0;
};

std::uintptr_t page_size() noexcept {
  static const auto size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const InputDescriptor input(path);
  if (input.size_bytes() == 0) return;  // mmap refuses empty ranges
  void* address = ::mmap(nullptr, input.size_bytes(), PROT_READ, MAP_PRIVATE, input.get(), 0);
  if (address == MAP_FAILED) throw_io(path, "cannot map", errno);
  bytes_ = Bytes(static_cast<const std::byte*>(address), input.size_bytes());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, Bytes{})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::will_need(Bytes range) const noexcept {
  if (range.empty()) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  const std::uintptr_t first_page = begin / page_size() * page_size();
  ::madvise(reinterpret_cast<void*>(first_page), begin + range.size() - first_page, MADV_WILLNEED);
}

void MappedFile::drop(Bytes range) const noexcept {
  if (range.empty()) return;
  // In steps of the kernel's huge pages: to give back a part of one splits it, which interrupts all processors. So a
  // range leaves its end to the next one, and takes the end that the last one left, which a neighbour may have to map
  // again. The end of the file counts as the end of a step.
  constexpr std::uintptr_t kStep = std::uintptr_t{2} << 20;
  const auto file_begin = reinterpret_cast<std::uintptr_t>(bytes_.data()), file_end = file_begin + bytes_.size();
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data()), end = begin + range.size();
  const std::uintptr_t first = std::max(begin / kStep * kStep, file_begin);
  const std::uintptr_t last = end == file_end ? end : end / kStep * kStep;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const InputDescriptor input(path);
  if (input.size_bytes() > max_bytes) {
    throw Error(ErrorKind::limit_exceeded, path.string() + ": expected at most " + std::to_string(max_bytes) +
                                               " bytes, got " + std::to_string(input.size_bytes()));
  }
  std::string text(input.size_bytes(), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::read(input.get(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_io(path, "cannot read", errno);
    if (count == 0) break;  // shrunk since fstat
    done += static_cast<std::size_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace ingot
