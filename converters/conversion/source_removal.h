// --delete-source-as-read: the files of a checkpoint go one after the other, each when all of its tensors are in output
// files that are on the disk and proven. Of a removed file a skeleton stays in the staging place until the output has
// its name: the same name, size and time, and every byte but those of large tensors, which are holes. So a later run
// opens the same model (read_remaining_model()) and goes on.
//
// For one file, each step durable before the next; a run that is killed between two of them is continued from either:
//   1. the output files with its tensors are committed, and proven by the target's reader
//   2. the journal has these proofs and the hash of the file
//   3. the skeleton is written, and the source with it in place of the file opens to the same model
//   4. the file is removed, and its blocks are given back although it is mapped still
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "converters/conversion/journal.h"
#include "converters/conversion/staging.h"
#include "converters/registry.h"

namespace ingot::convert {

/// Throws invalid_value or unsupported, saying why, where the source cannot go file by file.
void require_removable(const tensor::Model& model, const ConvertOptions& options);

/// The most bytes that a conversion takes on the disk beside those that it has freed until then.
[[nodiscard]] std::uint64_t disk_bytes_with_removal(const tensor::Model& model, const Forecast& forecast,
                                                    std::uint64_t shard_bytes);
[[nodiscard]] bool is_on_the_same_disk(const std::filesystem::path& one, const std::filesystem::path& other);

/// Was its source file removed by an earlier run? Reading its planes throws then.
[[nodiscard]] bool is_removed(const tensor::Tensor& tensor) noexcept;

/// What earlier runs proved of tensors whose source may be gone, by name.
[[nodiscard]] std::map<std::string, TensorProof> recorded_proofs(const ConversionJournal& journal);

/// Patches of the source's files (layout.h) are found once, while the files are whole. Takes them from the journal, or
/// has `find` find them and records them.
[[nodiscard]] bool has_settled_patches(const ConversionJournal& journal);
void settle_patches(tensor::Model& model, ConversionJournal& journal, const std::function<void(tensor::Model&)>& find);

class SourceRemoval {
 public:
  /// All arguments must outlive it. `hashes`: of the files of model.source whose hashes are not known.
  SourceRemoval(const tensor::Model& model, const Staging& staging, ConversionJournal& journal, PassingHashes& hashes,
                bool trust_config);
  /// The tensors of a committed output file are proven. Removes the source files that nothing waits for any more.
  void add_proofs(const std::filesystem::path& output_file, const std::vector<TensorProof>& proofs);

 private:
  struct File {
    std::size_t number = 0;             // in model.source->files
    std::filesystem::path path;         // where it is
    std::set<std::string> waits_for{};  // tensors that are not proven
    bool is_done = false;               // removed, or kept because the model could not be opened without it
  };
  void remove(File& file);
  [[nodiscard]] bool opens_to_the_same_model(const File& file) const;

  const tensor::Model& model_;
  const Staging& staging_;
  ConversionJournal& journal_;
  PassingHashes& hashes_;
  bool trust_config_;
  std::vector<File> files_;
};

/// After the output has its name: the files that it can restore go, and directories that are empty then.
void remove_rest_of_source(const tensor::Model& model);

}  // namespace ingot::convert
