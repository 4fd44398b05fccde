#include "converters/staging.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "format/base/error.h"
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
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

bool is_taken(const fs::path& path) {
  std::error_code status;
  return fs::exists(fs::symlink_status(path, status));
}

void refuse_taken(const fs::path& path) {
  if (is_taken(path)) throw Error(ErrorKind::io, path.string() + ": exists already (--force replaces it)");
}

fs::path make_directory_beside(const fs::path& output) {
  std::string pattern = (parent_of(output) / ("." + output.filename().string() + ".XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_io(pattern, "cannot create", {errno, std::generic_category()});
  return pattern;
}

}  // namespace

Staging::Staging(fs::path output, bool overwrite) : output_(std::move(output)), overwrite_(overwrite) {
  if (!output_.has_filename()) output_ = output_.parent_path();  // "out/" means "out"
  if (output_.filename().empty() || output_.filename() == "." || output_.filename() == "..") {
    throw Error(ErrorKind::invalid_value, output_.string() + ": the output needs a name of its own");
  }
  std::error_code status;
  if (!overwrite_) refuse_taken(output_);
  if (!fs::is_directory(parent_of(output_), status)) {
    throw Error(ErrorKind::io, parent_of(output_).string() + ": no such directory");
  }
  directory_ = make_directory_beside(output_);
}

Staging::~Staging() {
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

fs::path Staging::readable() const {
  std::error_code status;
  if (fs::exists(target(), status)) return target();
  const std::vector<fs::path> files = regular_files(directory_);
  if (files.empty()) throw Error(ErrorKind::io, target().string() + ": the writer wrote nothing");
  return files.front();
}

std::string Staging::with_final_paths(std::string message) const {
  const std::string staged = directory_.string() + "/";
  const std::string final_place = output_.has_parent_path() ? output_.parent_path().string() + "/" : std::string();
  for (std::size_t at = message.find(staged); at != std::string::npos; at = message.find(staged, at)) {
    message.replace(at, staged.size(), final_place);
    at += final_place.size();
  }
  return message;
}

std::uint64_t Staging::bytes() const {
  std::uint64_t total = 0;
  for (const fs::path& file : regular_files(directory_)) total += fs::file_size(file);
  return total;
}

void Staging::start_writeback() const noexcept {
  try {
    for (const fs::path& file : regular_files(directory_)) {
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

void Staging::publish_one(const fs::path& staged) {
  const fs::path final_name = final_path(staged);
  std::error_code status;
  container::guarded_step();
  // rename() does not replace a directory that holds something: the old one steps aside and goes with the staging
  // directory.
  const bool step_aside = is_taken(final_name) && (fs::is_directory(final_name) || fs::is_directory(staged));
  const fs::path aside = directory_ / (staged.filename().string() + ".replaced");
  if (step_aside) fs::rename(final_name, aside, status);
  if (!status) fs::rename(staged, final_name, status);
  if (!status) return;
  std::error_code ignored;
  if (step_aside && !is_taken(final_name)) fs::rename(aside, final_name, ignored);  // it must not go with the staging
  throw_io(final_name, "cannot rename the finished output to this name", status);
}

void Staging::publish(bool sync) {
  if (sync) {
    for (const fs::path& file : regular_files(directory_)) sync_path(file, 0);
    if (fs::is_directory(target())) sync_path(target(), O_DIRECTORY);
  }
  std::vector<fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_))
    if (entry.path() != target()) others.push_back(entry.path());
  std::sort(others.begin(), others.end());
  bool replaces_others = false;
  for (const fs::path& entry : others) replaces_others |= is_taken(final_path(entry));
  const bool has_target = fs::exists(target());
  if (!overwrite_) {
    if (has_target) refuse_taken(output_);
    for (const fs::path& entry : others) refuse_taken(final_path(entry));
  }
  if (has_target && replaces_others && is_taken(output_)) {
    std::error_code status;
    container::guarded_step();
    fs::rename(output_, directory_ / (output_.filename().string() + ".replaced"), status);
    if (status) throw_io(output_, "cannot move it out of the way", status);
    if (sync) sync_path(parent_of(output_), O_DIRECTORY);
  }
  for (const fs::path& entry : others) publish_one(entry);
  if (has_target) {
    if (sync && !others.empty()) sync_path(parent_of(output_), O_DIRECTORY);
    publish_one(target());
  }
  if (sync) sync_path(parent_of(output_), O_DIRECTORY);
}

}  // namespace ingot::convert
