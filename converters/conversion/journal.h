// The journal of a conversion: what it is, and which tensors of which file are finished, with their hashes. One line
// per fact: JSON, a tab, the hash of the JSON. A line that does not match its hash ends the journal: the process was
// killed while it wrote it.
//
// A record may reach the disk before the bytes that it speaks of. It needs no order: what a record says is believed
// only where the bytes confirm it, so after a power cut work is repeated and never taken for done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "converters/registry.h"
#include "format/base/json.h"
#include "format/base/write_journal.h"

namespace ingot::convert {

/// What makes two conversions the same: source files (size, time, first bytes), options, program, and what the forecast
/// says of every tensor. Members are named in the words of the command line. `removed`: Staging::removed().
[[nodiscard]] Json identity_of(const tensor::Model& model, const ConvertOptions& options, const Forecast& forecast,
                               const std::filesystem::path& removed);

class ConversionJournal final : public WriteJournal {
 public:
  /// Files are named from the directory `files` on. An existing journal at `path` is read; with `resume` its records
  /// are kept, and it must be one of `identity`: throws mismatch naming the difference.
  ConversionJournal(std::filesystem::path path, std::filesystem::path files, const Json& identity, bool resume);
  ConversionJournal(const ConversionJournal&) = delete;
  ConversionJournal& operator=(const ConversionJournal&) = delete;
  ~ConversionJournal() override;

  [[nodiscard]] const FinishedWork* find(const OutputFile& file, std::string_view key) const override;
  void record(const OutputFile& file, std::string_view key, const FinishedWork& work) override;
  void keep(std::uint64_t bytes) override { kept_bytes_ += bytes; }

  /// Calls `done` with each output file after its commit, when the writer goes on to the next one or with end_file().
  /// For writers that end one file before they begin another.
  void on_file_end(std::function<void(const std::filesystem::path&)> done) { on_file_end_ = std::move(done); }
  void end_file() const;
  /// Whatever else must be known to go on; durable when this returns. A later fact of the same name replaces it.
  void record_fact(const std::string& name, Json value);
  [[nodiscard]] const std::map<std::string, Json>& facts() const noexcept { return facts_; }
  /// The last line of a part: all its files are written.
  void record_end();
  /// Takes over the records of the journal of a part. Throws mismatch when it is one of another conversion.
  void add_records_of(const std::filesystem::path& path, const Json& identity);
  [[nodiscard]] bool has_records() const noexcept { return !records_.empty() || recorded_; }
  [[nodiscard]] std::uint64_t kept_bytes() const noexcept { return kept_bytes_; }
  /// Files of which something was done again that an earlier run had finished: its bytes are not there any more.
  [[nodiscard]] const std::set<std::string>& repeated_files() const noexcept { return repeated_files_; }

 private:
  [[nodiscard]] std::string file_name(const OutputFile& file) const;
  void append(const Json& line);
  void enter(const OutputFile& file) const;

  std::filesystem::path path_, files_;
  std::map<std::pair<std::string, std::string>, FinishedWork> records_;
  std::map<std::string, Json> facts_;
  std::set<std::string> repeated_files_;
  std::function<void(const std::filesystem::path&)> on_file_end_;
  mutable std::filesystem::path open_file_;  // the one that the writer asked or told about last
  std::uint64_t kept_bytes_ = 0;
  bool recorded_ = false;
  int descriptor_ = -1;
};

/// What a journal says, as far as its lines are whole.
struct JournalContent {
  Json identity;                                                        // null: there is none
  std::map<std::pair<std::string, std::string>, FinishedWork> records;  // by file and key
  std::map<std::string, Json> facts;
  bool has_end = false;
  std::uint64_t good_bytes = 0;
};
[[nodiscard]] JournalContent read_journal(const std::filesystem::path& path);
/// Throws mismatch naming the difference where the journal of a part is that of another conversion: files of both would
/// lie together. One that says nothing yet fits.
void require_part_of(const std::filesystem::path& journal, const Json& identity);

}  // namespace ingot::convert
