#include "converters/conversion/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "format/base/error.h"
#include "format/base/mapped_file.h"
#include "format/base/utf8.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHashDigits = 32;

[[noreturn]] void throw_io(const fs::path& path, std::string_view action) {
  throw Error(ErrorKind::io,
              path.string() + ": " + std::string(action) + ": " + std::generic_category().message(errno));
}

Json record_json(const std::string& file, std::string_view key, const FinishedWork& work) {
  Json pieces(JsonArray{});
  for (const WrittenPiece& piece : work.pieces)
    pieces.push_back(Json(JsonArray{Json(piece.offset), Json(piece.size), Json(piece.hash.hex())}));
  Json json;
  json.set("file", file);
  json.set("key", key);
  json.set("note", work.note);
  json.set("pieces", std::move(pieces));
  return json;
}

FinishedWork work_of(const Json& json, std::string_view where) {
  FinishedWork work;
  work.note = json.at("note", where).as_string(where);
  for (const Json& entry : json.at("pieces", where).as_array(where)) {
    const JsonArray& fields = entry.as_array(where);
    const std::optional<Hash128> hash =
        fields.size() == 3 ? Hash128::from_hex(fields[2].as_string(where)) : std::optional<Hash128>();
    if (!hash) throw Error(ErrorKind::invalid_value, std::string(where) + ": no piece of a record");
    work.pieces.push_back({fields[0].as_u64(where), fields[1].as_u64(where), *hash});
  }
  return work;
}

/// A line without its hash; nothing when the hash is not its own.
std::optional<std::string_view> checked_line(std::string_view line) {
  if (line.size() < kHashDigits + 1 || line[line.size() - kHashDigits - 1] != '\t') return std::nullopt;
  const std::string_view text = line.substr(0, line.size() - kHashDigits - 1);
  const std::optional<Hash128> hash = Hash128::from_hex(line.substr(line.size() - kHashDigits));
  return hash && *hash == hash128(as_bytes_view(text)) ? std::optional(text) : std::nullopt;
}

/// "'a' then, 'b' now" of the first member that differs; empty: none does.
std::string first_difference(const Json& recorded, const Json& wanted, const std::string& name) {
  if (recorded == wanted) return "";
  if (recorded.is_object() && wanted.is_object()) {
    for (const auto& [key, value] : wanted.as_object(name)) {
      const Json* other = recorded.find(key);
      const std::string inner = name.empty() ? key : name + ": " + key;
      if (other == nullptr) return inner + " is new";
      if (std::string difference = first_difference(*other, value, inner); !difference.empty()) return difference;
    }
    for (const auto& [key, value] : recorded.as_object(name))
      if (wanted.find(key) == nullptr) return (name.empty() ? key : name + ": " + key) + " is gone";
  }
  return name + " was " + canonical_json(recorded) + ", is " + canonical_json(wanted);
}

/// Throws mismatch naming the first difference.
void require_same_conversion(const Json& recorded, const Json& wanted, const fs::path& journal,
                             const std::string& way_out) {
  const std::string difference = first_difference(recorded, wanted, "");
  if (difference.empty()) return;
  throw Error(ErrorKind::mismatch, journal.string() + ": begun by another conversion, or of another source: " +
                                       difference + " (" + way_out + ")");
}

const std::string kWithoutResume = "without --resume the work starts anew";

}  // namespace

JournalContent read_journal(const fs::path& path) {
  JournalContent content;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || status.st_size == 0) return content;
  const MappedFile file(path);
  const std::string_view text = as_text(file.bytes());
  const std::string where = path.string();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    const std::optional<std::string_view> line = checked_line(text.substr(begin, end - begin));
    if (!line) break;
    const Json json = parse_json(*line, where);
    if (begin == 0) {
      content.identity = json.at("conversion", where);
    } else if (json.find("end") != nullptr) {
      content.has_end = true;
    } else if (const Json* fact = json.find("fact")) {
      content.facts[fact->as_string(where)] = json.at("value", where);
    } else {
      content.records[{json.at("file", where).as_string(where), json.at("key", where).as_string(where)}] =
          work_of(json, where);
    }
    begin = end + 1;
    content.good_bytes = begin;
  }
  return content;
}

void require_part_of(const fs::path& journal, const Json& identity) {
  const JournalContent content = read_journal(journal);
  if (content.identity.is_null()) return;
  require_same_conversion(content.identity, identity, journal,
                          "all parts need the same; remove " + journal.parent_path().string() + " to start anew");
}

ConversionJournal::ConversionJournal(fs::path path, fs::path files, const Json& identity, bool resume)
    : path_(std::move(path)), files_(std::move(files)) {
  JournalContent content;
  if (resume) content = read_journal(path_);
  const bool continues = !content.identity.is_null();
  if (continues) {
    require_same_conversion(content.identity, identity, path_, kWithoutResume);
    records_ = std::move(content.records);
    facts_ = std::move(content.facts);
  }
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_io(path_, "cannot create");
  if (::ftruncate(descriptor_, static_cast<off_t>(continues ? content.good_bytes : 0)) != 0) {
    ::close(descriptor_);
    throw_io(path_, "cannot cut");
  }
  if (continues) return;
  try {
    Json first;
    first.set("conversion", identity);
    append(first);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

ConversionJournal::~ConversionJournal() { ::close(descriptor_); }

std::string ConversionJournal::file_name(const OutputFile& file) const {
  return to_valid_utf8(file.path().lexically_relative(files_).generic_string());
}

void ConversionJournal::end_file() const {
  if (!open_file_.empty() && on_file_end_) on_file_end_(std::exchange(open_file_, {}));
}

void ConversionJournal::enter(const OutputFile& file) const {
  if (file.path() == open_file_) return;
  end_file();
  open_file_ = file.path();
}

const FinishedWork* ConversionJournal::find(const OutputFile& file, std::string_view key) const {
  enter(file);
  const auto found = records_.find({file_name(file), std::string(key)});
  return found != records_.end() ? &found->second : nullptr;
}

void ConversionJournal::record(const OutputFile& file, std::string_view key, const FinishedWork& work) {
  enter(file);
  if (records_.contains({file_name(file), std::string(key)})) repeated_files_.insert(file_name(file));
  append(record_json(file_name(file), key, work));
  recorded_ = true;
}

void ConversionJournal::record_fact(const std::string& name, Json value) {
  Json line;
  line.set("fact", name);
  line.set("value", value);
  append(line);
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP) throw_io(path_, "cannot sync");
  facts_[name] = std::move(value);
}

void ConversionJournal::record_end() {
  Json line;
  line.set("end", true);
  append(line);
}

void ConversionJournal::add_records_of(const fs::path& path, const Json& identity) {
  require_part_of(path, identity);
  JournalContent content = read_journal(path);
  records_.merge(std::move(content.records));
}

void ConversionJournal::append(const Json& line) {
  std::string text = canonical_json(line);
  text += '\t' + hash128(as_bytes_view(text)).hex() + '\n';
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw_io(path_, "cannot write");
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace ingot::convert
