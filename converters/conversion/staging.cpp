#include "converters/conversion/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "format/base/error.h"
#include "format/base/file_errors.h"
#include "format/base/output_file.h"
#include "format/container/write_fault.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_io(const fs::path& path, std::string_view action, const std::error_code& reason) {
  throw Error(ErrorKind::io, path.string() + ": " + std::string(action) + ": " + reason.message());
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void sync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_io(path, "cannot open to sync", {errno, std::generic_category()});
  const int error_number = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // EINVAL, ENOTSUP: the file system cannot sync this kind of file.
  if (error_number != 0 && error_number != EINVAL && error_number != ENOTSUP) {
    throw_io(path, "cannot sync", {error_number, std::generic_category()});
  }
}

std::vector<fs::path> regular_files(const fs::path& directory) {
  std::vector<fs::path> files;
  with_file_errors([&] {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory))
      if (entry.is_regular_file()) files.push_back(entry.path());
  });
  std::sort(files.begin(), files.end());
  return files;
}

bool is_taken(const fs::path& path) {
  std::error_code status;
  return fs::exists(fs::symlink_status(path, status));
}

void refuse_existing(const fs::path& path) {
  if (is_taken(path)) throw Error(ErrorKind::io, path.string() + ": exists already (--force replaces it)");
}

constexpr std::string_view kMarker = "publishing";

/// Descriptor of a locked file; -1 where the file system knows no locks. Throws io when another process holds it.
int lock_file(const fs::path& path, int operation, const fs::path& output) {
  constexpr int kMaxAttempts = 100;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) throw_io(path, "cannot create", {errno, std::generic_category()});
    if (::flock(descriptor, operation | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(descriptor);
      throw Error(ErrorKind::io, output.string() + ": another process is writing it");
    }
    struct stat locked {
    }, named{};
    if (::fstat(descriptor, &locked) == 0 && ::stat(path.c_str(), &named) == 0 && locked.st_ino == named.st_ino)
      return descriptor;
    ::close(descriptor);  // the process that held it has removed it meanwhile
    std::error_code ignored;
    fs::create_directories(path.parent_path(), ignored);
  }
  throw Error(ErrorKind::io, path.string() + ": cannot lock");
}

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code status;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, status)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// Renames that are taken back, last first, unless all of them succeed.
class Renames {
 public:
  Renames() = default;
  Renames(const Renames&) = delete;
  Renames& operator=(const Renames&) = delete;
  ~Renames() {
    std::error_code ignored;
    for (auto move = done_.rbegin(); move != done_.rend(); ++move) fs::rename(move->second, move->first, ignored);
  }
  void rename(const fs::path& from, const fs::path& to, std::string_view action) {
    container::guarded_step();
    std::error_code status;
    fs::rename(from, to, status);
    if (status) throw_io(to, action, status);
    done_.emplace_back(from, to);
  }
  void accept() noexcept { done_.clear(); }

 private:
  std::vector<std::pair<fs::path, fs::path>> done_;
};

}  // namespace

fs::path Staging::place_of(const fs::path& output) {
  const fs::path named = output.has_filename() ? output : output.parent_path();  // "out/" means "out"
  return parent_of(named) / ("." + named.filename().string() + ".partial");
}

void Staging::require_place(const fs::path& output, bool overwrite) {
  const fs::path named = output.has_filename() ? output : output.parent_path();
  if (named.filename().empty() || named.filename() == "." || named.filename() == "..") {
    throw Error(ErrorKind::invalid_value, named.string() + ": the output needs a name of its own");
  }
  std::error_code status;
  if (!fs::is_directory(parent_of(named), status)) {
    throw Error(ErrorKind::io, parent_of(named).string() + ": no such directory");
  }
  if (!overwrite && !fs::exists(place_of(named), status)) refuse_existing(named);
}

bool Staging::has_leftovers(const fs::path& output) noexcept {
  try {
    std::error_code status;
    if (!fs::exists(place_of(output) / "journal", status)) return false;
    ::close(lock_file(place_of(output) / "lock", LOCK_SH, output));
    return true;
  } catch (...) {
    return false;
  }
}

Staging::Staging(fs::path output, const StagingOptions& options) : output_(std::move(output)), options_(options) {
  if (!output_.has_filename()) output_ = output_.parent_path();
  require_place(output_, options_.overwrite);
  std::error_code status;
  place_ = place_of(output_);
  files_ = place_ / "files";
  replaced_ = place_ / "replaced";
  lock();
  try {
    if (!options_.part) with_file_errors([&] { undo_torn_publication(); });
    if (!options_.overwrite) refuse_existing(output_);
    if (!options_.part && !options_.joins) refuse_parts();
    if (!options_.part && !options_.resume) {
      if (fs::exists(removed(), status))
        throw Error(ErrorKind::io, output_.string() + ": files of the source were converted into it and removed; " +
                                       "only --resume goes on (" + place_.string() + " holds what was made of them)");
      remove_leftovers();
    }
    with_file_errors([&] { fs::create_directories(files_); });
  } catch (...) {
    ::close(lock_);
    ::close(part_lock_);
    throw;
  }
}

/// Work of several machines, perhaps.
void Staging::refuse_parts() const {
  if (options_.overwrite && !options_.resume) return;
  const auto journals = part_journals();
  if (journals.empty()) return;
  throw Error(ErrorKind::io, output_.string() + ": parts of it are here (" + journals.front().second.string() +
                                 "); `ingot join` makes them whole, --force without --resume drops them");
}

void Staging::lock() {
  std::error_code status;
  fs::create_directories(place_, status);
  if (status) throw_io(place_, "cannot create", status);
  lock_ = lock_file(place_ / "lock", options_.part ? LOCK_SH : LOCK_EX, output_);
  if (!options_.part) return;
  try {
    part_lock_ = lock_file(journal_path(), LOCK_EX, output_);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

Staging::~Staging() {
  std::error_code ignored;
  if (!keeps_ && !options_.part) {
    // The marker last: with it, whoever comes after a kill here knows whose the output is.
    for (const fs::path& entry : entries_of(place_))
      if (entry.filename() != kMarker && entry.filename() != "lock") fs::remove_all(entry, ignored);
    fs::remove_all(place_, ignored);
  }
  struct stat journal {};
  // A part that was refused has begun nothing.
  if (part_lock_ >= 0 && ::fstat(part_lock_, &journal) == 0 && journal.st_size == 0)
    fs::remove(journal_path(), ignored);
  ::close(lock_);
  if (part_lock_ >= 0) ::close(part_lock_);
}

fs::path Staging::journal_path() const {
  if (!options_.part) return place_ / "journal";
  return place_ / ("journal-" + std::to_string(options_.part->number) + "-of-" + std::to_string(options_.part->count));
}

std::vector<std::pair<Part, fs::path>> Staging::part_journals() const {
  std::vector<std::pair<Part, fs::path>> journals;
  for (const fs::path& entry : entries_of(place_)) {
    Part part;
    std::error_code status;
    if (std::sscanf(entry.filename().c_str(), "journal-%lu-of-%lu", &part.number, &part.count) == 2 &&
        fs::file_size(entry, status) != 0 && !status)
      journals.emplace_back(part, entry);
  }
  std::sort(journals.begin(), journals.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.count, a.first.number) < std::pair(b.first.count, b.first.number);
  });
  return journals;
}

/// A process that ended while it renamed files: the new ones come back here and the old ones return, unless all new
/// ones have got their names. They come back then, too, where the conversion is resumed: what remains to be done is a
/// last look.
void Staging::undo_torn_publication() const {
  const fs::path marker = place_ / kMarker;
  std::error_code status;
  if (!fs::exists(marker, status)) return;
  std::ifstream names(marker);
  const bool is_complete = entries_of(files_).empty() && !options_.resume;
  fs::create_directories(files_);
  for (std::string name; !is_complete && std::getline(names, name);) {
    const fs::path staged = files_ / name;
    if (!is_taken(staged) && is_taken(final_path(staged))) fs::rename(final_path(staged), staged);
  }
  for (const fs::path& old : entries_of(replaced_))
    if (!is_complete && !is_taken(final_path(old))) fs::rename(old, final_path(old));
  fs::remove_all(replaced_, status);
  fs::remove(marker, status);
}

void Staging::remove_leftovers() const {
  std::error_code ignored;
  for (const fs::path& entry : entries_of(place_))
    if (entry.filename() != "lock") fs::remove_all(entry, ignored);
}

fs::path Staging::readable() const {
  std::error_code status;
  if (fs::exists(target(), status)) return target();
  const std::vector<fs::path> files = regular_files(files_);
  if (files.empty()) throw Error(ErrorKind::io, target().string() + ": the writer wrote nothing");
  return files.front();
}

std::string Staging::with_final_paths(std::string message) const {
  const std::string staged = files_.string() + "/";
  const std::string final_place = output_.has_parent_path() ? output_.parent_path().string() + "/" : std::string();
  for (std::size_t at = message.find(staged); at != std::string::npos; at = message.find(staged, at)) {
    message.replace(at, staged.size(), final_place);
    at += final_place.size();
    const std::string name = output_.filename().string(), unfinished = name + ".partial/";  // of directory writers
    if (message.compare(at, unfinished.size(), unfinished) == 0) message.replace(at, unfinished.size(), name + "/");
  }
  return message;
}

std::uint64_t Staging::bytes() const {
  std::uint64_t total = 0;
  for (const fs::path& file : regular_files(files_)) total += with_file_errors([&] { return fs::file_size(file); });
  return total;
}

void Staging::start_writeback() const noexcept {
  try {
    for (const fs::path& file : regular_files(files_)) {
      const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
      if (descriptor < 0) continue;
      (void)::sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
      ::close(descriptor);
    }
  } catch (...) {
    // Only a hint: publish() syncs whatever happens here.
  }
}

fs::path Staging::final_path(const fs::path& staged) const { return parent_of(output_) / staged.filename(); }

std::uint64_t Staging::bytes_on_disk() const {
  constexpr std::uint64_t kStatBlockBytes = 512;
  std::uint64_t total = 0;
  for (const fs::path& file : regular_files(files_)) {
    struct stat status {};
    if (::stat(file.c_str(), &status) == 0) total += static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes;
  }
  return total;
}

std::uint64_t Staging::free_bytes() const {
  struct statvfs status {};
  if (::statvfs(place_.c_str(), &status) != 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

std::vector<fs::path> Staging::publish(bool sync, const std::vector<fs::path>& obsolete) {
  if (sync) {
    for (const fs::path& file : regular_files(files_)) sync_path(file, 0);
    if (fs::is_directory(target())) sync_path(target(), O_DIRECTORY);
  }
  std::vector<fs::path> staged = entries_of(files_);
  std::stable_partition(staged.begin(), staged.end(), [&](const fs::path& entry) { return entry != target(); });
  if (!options_.overwrite)
    for (const fs::path& entry : staged) refuse_existing(final_path(entry));
  std::vector<fs::path> in_the_way = {output_};
  for (const fs::path& entry : staged) in_the_way.push_back(final_path(entry));
  in_the_way.insert(in_the_way.end(), obsolete.begin(), obsolete.end());
  in_the_way.erase(std::remove_if(in_the_way.begin(), in_the_way.end(), [](const auto& p) { return !is_taken(p); }),
                   in_the_way.end());
  // One rename over one file leaves no moment without a whole model.
  const bool atomic = staged.size() == 1 && in_the_way.size() == 1 && staged.front() == target() &&
                      fs::is_regular_file(target()) && !fs::is_directory(output_);
  if (!atomic) {
    std::string names;
    for (const fs::path& entry : staged) names += entry.filename().string() + "\n";
    write_file_atomically(place_ / kMarker, as_bytes_view(names));
    with_file_errors([&] { fs::create_directories(replaced_); });
  }
  Renames renames;
  for (const fs::path& old : in_the_way) {
    if (atomic || !is_taken(old)) continue;
    renames.rename(old, replaced_ / old.filename(), "cannot move what stands at the output out of the way");
    if (sync && old == output_) sync_path(parent_of(output_), O_DIRECTORY);
  }
  for (const fs::path& entry : staged) {
    if (sync && entry == target() && staged.size() > 1) sync_path(parent_of(output_), O_DIRECTORY);
    renames.rename(entry, final_path(entry), "cannot rename the finished output to this name");
  }
  if (sync) sync_path(parent_of(output_), O_DIRECTORY);
  renames.accept();
  container::guarded_step();
  std::stable_partition(staged.begin(), staged.end(), [&](const fs::path& entry) { return entry == target(); });
  std::vector<fs::path> published;
  for (const fs::path& entry : staged) published.push_back(output_.parent_path() / entry.filename());
  return published;
}

}  // namespace ingot::convert
