#include "runtime/baseline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "format/base/checked_math.h"
#include "format/base/error.h"
#include "format/base/json.h"
#include "format/base/mapped_file.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kMagic = "INGOTBAS";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kPrefixBytes = 16, kHashBytes = 16, kMostHeaderBytes = 1u << 20;
constexpr std::uint64_t kHeaderBytes = 1008;  // what we write: reserved, because the perplexity is known last
constexpr std::uint64_t kRecordHead = 8;

std::uint64_t record_bytes(std::uint64_t listed) noexcept { return kRecordHead + 8 * listed; }

class BaselineFile final : public Reference {
 public:
  BaselineFile(const std::filesystem::path& path, const EvaluationText& text, std::uint64_t vocab_size)
      : file_(path), where_(path.string()), vocab_(vocab_size), per_window_(text.scored_per_window()) {
    ByteReader reader(file_.bytes(), where_);
    if (as_text(reader.take(kMagic.size(), "magic")) != kMagic)
      throw Error(ErrorKind::bad_magic, where_ + ": not a baseline", 0);
    const std::uint32_t version = reader.read_u32("version");
    if (version != kVersion) {
      throw Error(ErrorKind::unsupported_version,
                  where_ + ": version: expected " + std::to_string(kVersion) + ", got " + std::to_string(version), 8);
    }
    const std::uint32_t header_bytes = reader.read_u32("header size");
    if (header_bytes > kMostHeaderBytes) {
      throw Error(ErrorKind::limit_exceeded,
                  where_ + ": header: expected at most " + std::to_string(kMostHeaderBytes) + " bytes, got " +
                      std::to_string(header_bytes),
                  12);
    }
    const Json header = parse_json(as_text(reader.take(header_bytes, "header")), where_ + ": header");
    records_ = reader.offset();
    read_header(header, text);
    check_size_and_hash();
  }

  const std::vector<Prediction>& window(std::uint64_t index, RunningMean&) override {
    predictions_.resize(per_window_);
    for (std::uint64_t i = 0; i < per_window_; ++i) read_record(index * per_window_ + i, predictions_[i]);
    return predictions_;
  }

 private:
  void read_header(const Json& header, const EvaluationText& text) {
    const auto number = [&](std::string_view name) { return header.at(name, where_).as_u64(where_); };
    listed_ = number("listed");
    const std::uint64_t vocab = number("vocab_size"), window = number("window"), windows = number("windows");
    const auto expect = [&](std::string_view what, const std::string& ours, const std::string& theirs) {
      if (ours != theirs) {
        throw Error(ErrorKind::mismatch, where_ + ": " + std::string(what) + ": expected " + ours + ", got " + theirs);
      }
    };
    expect("vocabulary", std::to_string(vocab_), std::to_string(vocab));
    expect("tokens of a window", std::to_string(text.window), std::to_string(window));
    check_windows(text, windows);
    expect("tokens of the text (XXH3-128)", text.hash_of(windows_), header.at("text", where_).as_string(where_));
    if (listed_ == 0 || listed_ > vocab_) {
      throw Error(ErrorKind::invalid_value, where_ + ": listed tokens: expected 1.." + std::to_string(vocab_) +
                                                ", got " + std::to_string(listed_));
    }
  }

  /// The first ones of a longer baseline will do.
  void check_windows(const EvaluationText& text, std::uint64_t windows) {
    const std::uint64_t in_text = text.tokens.size() / text.window;
    const std::string got = ", got " + std::to_string(windows), what = where_ + ": windows: expected at ";
    if (windows < text.windows) {
      throw Error(ErrorKind::mismatch,
                  what + "least " + std::to_string(text.windows) + got + " (--windows reads only the first ones)");
    }
    if (windows > in_text)
      throw Error(ErrorKind::mismatch, what + "most " + std::to_string(in_text) + ", those of the text" + got);
    windows_ = windows;
  }

  void check_size_and_hash() const {
    const std::uint64_t records = checked_mul(windows_, per_window_, where_ + ": records");
    const std::uint64_t expected =
        records_ + checked_mul(records, record_bytes(listed_), where_ + ": records") + kHashBytes;
    if (file_.size() != expected) {
      throw Error(ErrorKind::truncated,
                  where_ + ": expected " + std::to_string(expected) + " bytes, got " + std::to_string(file_.size()));
    }
    const Hash128 hash = hash128(file_.bytes().first(expected - kHashBytes));
    if (!std::equal(hash.bytes.begin(), hash.bytes.end(), file_.bytes().last(kHashBytes).begin()))
      throw Error(ErrorKind::bad_checksum, where_ + ": the hash at the end disagrees with the bytes before it");
  }

  void read_record(std::uint64_t index, Prediction& prediction) const {
    const std::uint64_t at = records_ + index * record_bytes(listed_);
    const std::byte* record = file_.bytes().data() + at;
    prediction.tail = load_le<float>(record);
    prediction.tokens.resize(listed_);
    prediction.log_probabilities.resize(listed_);
    for (std::uint64_t i = 0; i < listed_; ++i) {
      prediction.tokens[i] = load_le<std::uint32_t>(record + kRecordHead + 4 * i);
      prediction.log_probabilities[i] = load_le<float>(record + kRecordHead + 4 * (listed_ + i));
      const float value = prediction.log_probabilities[i];
      if (prediction.tokens[i] >= vocab_ || !(value <= 1e-3f) || !std::isfinite(value))
        throw Error(ErrorKind::invalid_value, where_ + ": record " + std::to_string(index) + ": no prediction", at);
    }
    if (!(prediction.tail >= 0 && prediction.tail <= 1.001f))
      throw Error(ErrorKind::invalid_value, where_ + ": record " + std::to_string(index) + ": no probability", at);
  }

  MappedFile file_;
  std::string where_;
  std::uint64_t vocab_, per_window_, windows_ = 0, listed_ = 0, records_ = 0;
  std::vector<Prediction> predictions_;
};

}  // namespace

std::uint64_t usual_listed(std::uint64_t vocab_size) noexcept {
  constexpr std::uint64_t kShare = 200, kLeast = 8;
  return std::min(vocab_size, std::max(kLeast, vocab_size / kShare));
}

namespace {

/// A mistaken name must not cost a text or a model.
const std::filesystem::path& refuse_to_replace_other_things(const std::filesystem::path& path) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status) || std::filesystem::file_size(path, status) == 0) return path;
  const MappedFile file(path);
  if (!as_text(file.bytes()).starts_with(kMagic))
    throw Error(ErrorKind::io, path.string() + ": exists and is no baseline; it is not replaced");
  return path;
}

}  // namespace

BaselineWriter::BaselineWriter(const std::filesystem::path& path, Reference& source, std::uint64_t listed)
    : file_(refuse_to_replace_other_things(path)), source_(source), listed_(listed) {
  file_.seek(kPrefixBytes + kHeaderBytes);
}

const std::vector<Prediction>& BaselineWriter::window(std::uint64_t index, RunningMean& surprise) {
  const std::vector<Prediction>& predictions = source_.window(index, surprise);
  std::vector<std::byte> record(record_bytes(listed_));
  for (const Prediction& prediction : predictions) {
    store_le(record.data(), prediction.tail);
    for (std::uint64_t i = 0; i < listed_; ++i) {
      store_le(record.data() + kRecordHead + 4 * i, prediction.tokens[i]);
      store_le(record.data() + kRecordHead + 4 * (listed_ + i), prediction.log_probabilities[i]);
    }
    file_.write(record);
  }
  return predictions;
}

void BaselineWriter::finish(const EvaluationText& text, std::uint64_t vocab_size, double perplexity,
                            std::string_view model) {
  Json header;
  header.set("text", text.hash());
  header.set("vocab_size", vocab_size);
  header.set("window", text.window);
  header.set("windows", text.windows);
  header.set("listed", listed_);
  header.set("perplexity", perplexity);
  constexpr std::size_t kMostName = 400;  // the reserved header holds it whatever it is escaped to
  header.set("model", model.substr(0, model.size() > kMostName ? 0 : model.size()));
  std::string bytes(kMagic);
  bytes.resize(kPrefixBytes);
  store_le(reinterpret_cast<std::byte*>(bytes.data()) + 8, kVersion);
  store_le(reinterpret_cast<std::byte*>(bytes.data()) + 12, static_cast<std::uint32_t>(kHeaderBytes));
  bytes += canonical_json(header);
  bytes.resize(kPrefixBytes + kHeaderBytes, ' ');
  file_.write_at(0, as_bytes_view(bytes));
  Hasher128 hasher;
  std::vector<std::byte> piece(1u << 20);
  for (std::uint64_t at = 0; at < file_.position(); at += piece.size()) {
    const std::span<std::byte> part(piece.data(), std::min<std::uint64_t>(piece.size(), file_.position() - at));
    if (!file_.read_at(at, part)) throw Error(ErrorKind::io, file_.path().string() + ": cannot be read back", at);
    hasher.update(part);
  }
  file_.write(hasher.digest().bytes);
  file_.commit();
}

std::unique_ptr<Reference> read_baseline(const std::filesystem::path& path, const EvaluationText& text,
                                         std::uint64_t vocab_size) {
  return std::make_unique<BaselineFile>(path, text, vocab_size);
}

}  // namespace ingot::runtime
