// The interface every foreign layout implements, one row per layout in registry.cpp. Converters map foreign <->
// neutral only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/passing_hash.h"
#include "format/base/progress.h"
#include "format/base/write_journal.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/model.h"

namespace ingot::convert {

/// How much of the truth survives (promise P1).
enum class ProofClass : std::uint8_t { exact, codes, requantized, refused };
[[nodiscard]] std::string_view name(ProofClass value) noexcept;

/// What happens, or happened, to one tensor.
struct TensorOutcome {
  std::string name;
  ProofClass forecast = ProofClass::exact;
  std::string source_scheme;  // tensor::describe()
  std::string target_scheme;  // as the target names it ("bf16", "Q4_0", ...)
  std::uint64_t source_bytes = 0, target_bytes = 0;
  std::string reason;           // why it is not exact, or refused
  std::string note;             // what else happens to it: "act-order folded into ..."
  double expected_seconds = 0;  // filled by the engine, not by the layout
};

/// --part 2/4: the share of the output that one process writes.
struct Part {
  std::uint64_t number = 1, count = 1;  // 1 <= number <= count
  /// Is the file of this index (from 0) among those of the part?
  [[nodiscard]] bool takes(std::uint64_t file) const noexcept { return file % count == number - 1; }
};

/// What forecast() worked out about a model and write() would work out again: each writer derives its own.
struct PreparedWrite {
  virtual ~PreparedWrite() = default;
};

/// Options of `ingot convert` that a writer may need.
struct WriteOptions {
  std::string scheme;             // --scheme: a type ("f32", "q4_0") or a word of recode/scheme_choice.h; empty: keep
  std::string keep, quantize;     // --keep, --quantize: names (regular expressions) that are not or also quantized
  std::uint64_t shard_bytes = 0;  // --shard-size; 0: one file
  bool compress = false;          // --compress: zstd chunks (only the ingot layout)
  bool sync = true;
  ProofClass allow = ProofClass::exact;         // --allow: the worst class the user consents to
  std::map<std::string, std::string> settings;  // --set KEY=VALUE: choices of the target layout
  Progress progress;
  /// From the forecast of this very model with these options; null: the writer looks at the data itself.
  std::shared_ptr<const PreparedWrite> prepared;
  /// Hashes of the source files that are not known yet, for a writer that keeps the source. Null: all are known.
  PassingHashes* source_hashes = nullptr;
  /// Writers record in it what is finished, leave what an earlier run has finished, and keep their partial files.
  WriteJournal* journal = nullptr;
  /// Only these files, and nothing that needs the others (a manifest, an index).
  std::optional<Part> part;
  /// A writer that computes the fingerprints of the source's values in passing stores them here, by tensor; others
  /// leave it empty.
  std::vector<tensor::TakenFingerprint>* fingerprints = nullptr;
};

struct ReadOptions {
  Progress progress;
  bool trust_config = false;  // --trust-config: believe the metadata where the data speaks against it
};

/// What a writer would do, decided by checking the data, before a byte is written.
struct Forecast {
  std::vector<TensorOutcome> tensors;
  std::uint64_t output_bytes = 0;
  std::uint64_t peak_memory_bytes = 0;            // estimated by the engine: conversion/work_time.h
  std::vector<std::string> findings;              // what the target cannot say or hold beside tensors, a sentence each
  std::shared_ptr<const PreparedWrite> prepared;  // for WriteOptions; borrows from the model; may be null
};

struct Layout {
  std::string_view name;         // "hf", "gguf", "ingot", ...
  std::string_view description;  // one line for --help and README
  /// Does this path (file or directory) hold this layout? Looks at the bytes, never throws for foreign content.
  bool (*detect)(const std::filesystem::path& path);
  /// Opens without reading tensor data; the result streams. Throws Error.
  tensor::Model (*read)(const std::filesystem::path& path, const ReadOptions& options);
  /// Null when the layout is read-only.
  Forecast (*forecast)(const tensor::Model& model, const WriteOptions& options);
  void (*write)(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options);
  /// Emits the bytes of one restore segment of kind tensor (spec/restore.md): the tensor packed as this layout stored
  /// it, bytes [begin, begin + out.size()) of the segment. Null when the layout never produces tensor segments.
  void (*pack_segment)(const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin,
                       std::span<std::byte> out);
  bool is_directory = false;  // what write() makes
  /// Fills SourceFile::patches and their attachments, which read() leaves out because they cost a pass over the files.
  /// The engine calls it before a model read from this layout is written as .ingot. Null: packing gives all bytes back.
  void (*find_patches)(tensor::Model& model) = nullptr;
  bool compresses = false;    // write() obeys WriteOptions::compress
  bool keeps_source = false;  // write() records model.source, so that `restore` can give the original files back
  /// Does write() hold quantized matrices whose groups do not follow the order of the inputs (act-order), or no
  /// quantized ones? Null: it does not.
  bool (*carries_column_order)(const WriteOptions& options) noexcept = nullptr;
  /// Compares every byte of what write() made with the hashes in it, and throws. Null: the layout has none.
  void (*check_bytes)(const std::filesystem::path& path) = nullptr;
  bool packs_from_views = false;  // pack_segment() wants a tensor whose planes all have views (with_views())
};

}  // namespace ingot::convert
