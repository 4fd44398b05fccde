// Writing a new file: attachments, planes, chunk table, index, header. Implements spec/container.md section 4.
#include "format/container/writer.h"

#include "format/container/blob_writer.h"
#include "format/container/file.h"
#include "format/container/limits.h"
#include "format/container/tensor_writer.h"
#include "format/container/write_fault.h"

namespace ingot::container {
namespace {

/// The model's attachments and the tokenizer, as they go into the file. Borrows from the model and from `tokenizer`.
std::vector<tensor::Attachment> attachments_of(const tensor::Model& model, std::optional<Bytes> tokenizer,
                                               std::string_view where) {
  std::vector<tensor::Attachment> attachments = model.attachments;
  for (const tensor::Attachment& attachment : attachments) {
    if (attachment.name == kTokenizerAttachment) {
      throw Error(ErrorKind::invalid_value,
                  std::string(where) + ": attachment name " + attachment.name + " is reserved for the tokenizer");
    }
  }
  if (tokenizer) attachments.push_back({std::string(kTokenizerAttachment), *tokenizer, nullptr});
  return attachments;
}

/// Everything of the model that the index holds, except for bytes.
Index index_of(const tensor::Model& model, const std::vector<tensor::Attachment>& attachments) {
  Index index;
  index.model.config = model.config;
  index.model.metadata = model.metadata;
  index.model.aliases = model.aliases;
  index.model.layout = model.layout;
  index.model.source = model.source;
  index.model.tensors = model.tensors;
  index.model.attachments = attachments;
  return index;
}

void check_before_writing(const Index& index, std::string_view where) {
  std::vector<std::uint64_t> attachment_bytes;
  for (const tensor::Attachment& attachment : index.model.attachments)
    attachment_bytes.push_back(attachment.bytes.size());
  check_model(index.model, attachment_bytes, where);
  if (index.members.empty()) check_references(index.model, tensor_names(index.model), where);
  for (const tensor::Tensor& tensor : index.model.tensors) {
    const std::string place = std::string(where) + ": tensor \"" + tensor.name + "\"";
    if (tensor.planes == nullptr) throw Error(ErrorKind::invalid_value, place + ": has no planes");
    tensor::validate(tensor.scheme, place);
    check_tensor(tensor);
  }
}

std::uint64_t total_bytes(const Index& index) {
  std::uint64_t total = 0;
  for (const tensor::Attachment& attachment : index.model.attachments)
    total = checked_add(total, attachment.bytes.size(), "model");
  for (const tensor::Tensor& tensor : index.model.tensors) total = checked_add(total, tensor.stored_bytes(), "model");
  return total;
}

/// The values that the model brought along must be the values that were written.
void check_fingerprints(const tensor::Model& model, const std::vector<tensor::TakenFingerprint>& computed,
                        std::string_view where) {
  for (std::size_t i = 0; i < computed.size(); ++i) {
    const tensor::Tensor& tensor = model.tensors[i];
    if (!tensor.fingerprint || *tensor.fingerprint == computed[i].hash) continue;
    throw Error(ErrorKind::mismatch, std::string(where) + ": tensor \"" + tensor.name +
                                         "\": the values read do not match its fingerprint " + "(recorded " +
                                         tensor.fingerprint->hex() + ", computed " + computed[i].hash.hex() + ")");
  }
}

struct BlobNumbers {
  std::vector<std::size_t> attachments;
  std::vector<std::vector<std::size_t>> planes;  // by tensor
};

BlobNumbers write_blobs(const Index& index, BlobWriter& blobs, std::vector<tensor::TakenFingerprint>& fingerprints,
                        bool reuse_fingerprints, WriteJournal* journal) {
  BlobNumbers numbers;
  for (const tensor::Attachment& attachment : index.model.attachments) {
    numbers.attachments.push_back(blobs.begin_blob(attachment.bytes.size(), false, 0));
    blobs.add_chunks(numbers.attachments.back(), 0, attachment.bytes);
  }
  TensorWriter tensors(blobs, fingerprints, reuse_fingerprints, journal);
  for (std::size_t i = 0; i < index.model.tensors.size(); ++i)
    numbers.planes.push_back(tensors.add(index.model.tensors[i], i));
  blobs.flush();
  return numbers;
}

/// Chunk table, index and header; returns the slot.
Slot write_index(Index& index, BlobWriter& blobs, std::string_view where) {
  const std::vector<std::byte> table = encode_chunk_rows(blobs.rows());
  index.chunk_table_rows = blobs.rows().size();
  if (!table.empty()) index.chunk_table_offset = blobs.append(table, blob_alignment(table.size()));
  const std::string text = index_text(index, where);
  Slot slot;
  slot.generation = 1;
  slot.required_features =
      (blobs.has_compressed_chunks() ? kFeatureZstd : 0) | (index.members.empty() ? 0 : kFeatureSet);
  slot.index_offset = blobs.append(as_bytes_view(text), kAlignment);
  slot.index_size = text.size();
  slot.index_hash = hash128(as_bytes_view(text));
  slot.data_root = data_root(index);
  slot.file_size = blobs.end();
  if (slot.file_size > kMaxFileBytes)
    throw Error(ErrorKind::limit_exceeded, std::string(where) + ": the file would be too large");
  blobs.write_at(0, encode_header(slot));
  return slot;
}

void set_source_hashes(tensor::Source& source, PassingHashes& hashes, const Progress& progress) {
  for (std::size_t i = 0; i < source.files.size(); ++i)
    if (source.files[i].hash == Hash128{}) source.files[i].hash = hashes.finish(i, progress);
}

std::string text_of(const tensor::TokenizerSpec& tokenizer) { return canonical_json(tensor::to_json(tokenizer)); }

}  // namespace

void check_writable(const tensor::Model& model, std::string_view where) {
  const std::optional<Bytes> tokenizer = model.tokenizer ? std::optional(Bytes{}) : std::nullopt;
  check_before_writing(index_of(model, attachments_of(model, tokenizer, where)), where);
}

std::string largest_index_text(const tensor::Model& model, std::string_view where) {
  const std::optional<Bytes> tokenizer = model.tokenizer ? std::optional(Bytes{}) : std::nullopt;
  Index index = index_of(model, attachments_of(model, tokenizer, where));
  index.model.tensors.clear();
  index.chunk_table_offset = index.chunk_table_rows = kMaxInteger;
  Blob blob;
  blob.offset = blob.size = blob.stored = blob.first_chunk = kMaxInteger;
  index.attachments.assign(index.model.attachments.size(), blob);
  return index_text(index, where);
}

WriteResult write_model(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options,
                        const WriteExtras& extras) {
  const std::string where = path.string();
  std::string tokenizer_text;
  std::optional<Bytes> tokenizer = extras.tokenizer;
  if (model.tokenizer && !tokenizer) {
    tokenizer_text = text_of(*model.tokenizer);
    tokenizer = as_bytes_view(tokenizer_text);
  }
  Index index = index_of(model, attachments_of(model, tokenizer, where));
  index.members = extras.members;
  index.unknown_members = extras.unknown_members;
  check_before_writing(index, where);

  WriteResult result;
  result.fingerprints.resize(model.tensors.size());
  OutputFile file(path, leftover(options.journal));
  ByteMeter meter(options.progress, "writing", total_bytes(index));
  BlobWriter blobs(file, options, meter);
  const BlobNumbers numbers =
      write_blobs(index, blobs, result.fingerprints, extras.reuse_fingerprints, options.journal);
  check_fingerprints(model, result.fingerprints, where);
  for (const std::size_t number : numbers.attachments) index.attachments.push_back(blobs.finished_blob(number));
  for (std::size_t i = 0; i < numbers.planes.size(); ++i) {
    index.model.tensors[i].fingerprint = result.fingerprints[i].hash;
    std::vector<Blob>& planes = index.planes.emplace_back();
    for (const std::size_t number : numbers.planes[i]) planes.push_back(blobs.finished_blob(number));
  }
  if (options.source_hashes != nullptr && index.model.source)
    set_source_hashes(*index.model.source, *options.source_hashes, options.progress);
  const Slot slot = write_index(index, blobs, where);
  result.file_bytes = slot.file_size;
  result.root = slot.index_hash;
  meter.finish();  // may throw, which must not happen after the rename
  guarded_step();
  file.commit(options.sync);
  return result;
}

WriteResult write(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options) {
  return options.shard_bytes != 0 ? write_set(model, path, options) : write_model(model, path, options, {});
}

}  // namespace ingot::container
