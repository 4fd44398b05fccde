// The index: its JSON text <-> a Model without bytes plus the places of the bytes. Implements spec/index.md and
// spec/restore.md section 2.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "format/base/hash.h"
#include "format/base/json.h"
#include "format/container/container.h"
#include "format/tensor/model.h"

namespace ingot::container {

inline constexpr std::string_view kTokenizerAttachment = "ingot/tokenizer.json";

/// Where the bytes of a plane or an attachment lie.
struct Blob {
  std::uint64_t offset = 0;       // from file start; 0 when size is 0
  std::uint64_t size = 0;         // raw bytes
  std::uint64_t stored = 0;       // stored bytes; equal to size unless a chunk is compressed
  std::uint64_t first_chunk = 0;  // row of the chunk table; 0 when size is 0
  std::uint64_t unit_bytes = 0;   // of a sliced plane (plane_specs()); 0: whole plane or attachment
  Hash128 hash;                   // of the chunk rows
};

struct Index {
  tensor::Model model;            // attachments without bytes, tensors without planes; tokenizer and path not set
  std::vector<Blob> attachments;  // as model.attachments
  std::vector<std::vector<Blob>> planes;  // by tensor, in the order of plane_specs()
  std::uint64_t chunk_table_offset = 0;
  std::uint64_t chunk_table_rows = 0;
  std::vector<SetMember> members;  // of a manifest; empty otherwise
  JsonObject unknown_members;      // top-level members that this version does not know; kept by edit and compact
};

/// Parses and checks everything that does not depend on the rest of the file: syntax, values, limits, references
/// between parts, plane lists. Blob places are checked by check_blobs() (file.h). Throws invalid_value or
/// limit_exceeded.
[[nodiscard]] Index parse_index(std::string_view text, std::string_view where);
/// The JSON tree of an index text, with the limits of spec/index.md section 1.
[[nodiscard]] Json parse_index_json(std::string_view text, std::string_view where);
/// The canonical text. Throws limit_exceeded when it is too long.
[[nodiscard]] std::string index_text(const Index& index, std::string_view where);
/// The same for an edited tree.
[[nodiscard]] std::string index_text(const Json& index, std::string_view where);
/// The most bytes that a tensor takes in an index, wherever its planes lie.
[[nodiscard]] std::uint64_t max_index_bytes(const tensor::Tensor& tensor);

/// Names, transforms, restore recipe and limits of a model: what a file must satisfy and hence what a writer may be
/// given. `attachment_bytes[i]` is the size of attachment i. Throws invalid_value or limit_exceeded.
void check_model(const tensor::Model& model, const std::vector<std::uint64_t>& attachment_bytes,
                 std::string_view where);
using TensorNames = std::unordered_set<std::string_view>;
/// That aliases and restore recipe of `model` name `tensors`, and that no alias is one of them. Throws invalid_value.
void check_references(const tensor::Model& model, const TensorNames& tensors, std::string_view where);
[[nodiscard]] TensorNames tensor_names(const tensor::Model& model);
/// Shape and transforms of one tensor.
void check_tensor(const tensor::Tensor& tensor);
void check_metadata(const std::map<std::string, std::string>& metadata, std::string_view where);
/// A relative path with forward slashes that stays below its directory (spec/restore.md section 2).
void check_relative_path(std::string_view path, std::string_view where);

[[nodiscard]] Json source_to_json(const tensor::Source& source);
[[nodiscard]] tensor::Source source_from_json(const Json& json, std::string_view where);

/// 32 lower-case hexadecimal digits; throws invalid_value naming `what` otherwise.
[[nodiscard]] Hash128 hash_from_json(const Json& json, std::string_view what);

/// Walks the members of an object of which every member is known: take() each, then finish() throws invalid_value for
/// one left over.
class Members {
 public:
  Members(const Json& object, std::string_view where) : members_(object.as_object(where)), where_(where) {}

  [[nodiscard]] const Json* optional(std::string_view name) noexcept;
  [[nodiscard]] const Json& required(std::string_view name);
  [[nodiscard]] std::uint64_t required_u64(std::string_view name) { return required(name).as_u64(name); }
  [[nodiscard]] const std::string& required_string(std::string_view name) { return required(name).as_string(name); }
  void finish() const;

 private:
  const JsonObject& members_;
  std::string_view where_;
  std::size_t taken_ = 0;
};

}  // namespace ingot::container
