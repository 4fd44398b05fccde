// A whole checkpoint in neutral form. Converters produce it, the container stores it, the runtime and the inspector
// read it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/base/mapped_file.h"
#include "format/tensor/model_config.h"
#include "format/tensor/tensor.h"
#include "format/tensor/tokenizer_spec.h"

namespace ingot::tensor {

/// Verbatim bytes that travel with the model: config.json, tokenizer.json, header bytes of the source, ...
struct Attachment {
  std::string name;  // path-like, unique: "hf/config.json", "source/0/header"
  Bytes bytes;       // borrowed from owner
  std::shared_ptr<const void> owner;
};

/// One run of bytes of an original file: literal bytes from an attachment, or a tensor packed by its source layout.
/// Implements spec/restore.md. A file is the concatenation of its segments.
struct Segment {
  enum class Kind : std::uint8_t { literal, tensor, zeros } kind = Kind::literal;
  std::string attachment;   // literal: attachment name
  std::uint64_t begin = 0;  // literal: byte range inside it
  std::string tensor;       // tensor: neutral name
  std::string part;         // tensor: what the layout's packer must emit ("Q4_K", "raw", "qweight", ...)
  std::uint64_t size = 0;   // bytes this segment contributes
};

struct SourceFile {
  std::string path;  // relative to the checkpoint directory, forward slashes, never absolute, no ".."
  std::uint64_t size = 0;
  Hash128 hash;                                 // hash128_tree of the whole file; all zero: not computed yet
  std::shared_ptr<const MappedFile> content{};  // as its reader has it open, for hashing; null: not at hand
  std::vector<Segment> segments;
  /// Bytes that the packer would get wrong (non-canonical encodings): applied last, ascending offsets.
  struct Patch {
    std::uint64_t offset;
    std::string attachment;
    std::uint64_t begin;
    std::uint64_t size;
  };
  std::vector<Patch> patches;
};

/// How to get the original checkpoint back byte for byte (promise P3).
struct Source {
  std::string layout;  // registry name of the layout that wrote it: "hf", "gguf", ...
  std::vector<SourceFile> files;
};

struct Model {
  ModelConfig config;  // neutral hyperparameters
  std::optional<TokenizerSpec> tokenizer;
  std::map<std::string, std::string> metadata;  // free text, editable in place ("general.name", ...)
  std::vector<Tensor> tensors;                  // in source order; names unique
  std::map<std::string, std::string>
      aliases;  // tied tensors: alias -> stored name ("lm_head.weight" -> "model.embed_tokens.weight")
  std::vector<Attachment> attachments;
  std::optional<Source> source;
  std::vector<std::string> findings;  // what reading found against the metadata, one sentence each; not stored in files
  std::string layout;                 // layout this model was read from
  std::filesystem::path path;         // file or directory it was read from

  [[nodiscard]] const Tensor* find(std::string_view name) const noexcept;  // follows aliases; null when absent
  [[nodiscard]] const Attachment* find_attachment(std::string_view name) const noexcept;
};

}  // namespace ingot::tensor
