// Streams the planes of tensors into blobs with bounded memory, and the fingerprints of their values in passing.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "format/base/write_journal.h"
#include "format/container/blob_writer.h"
#include "format/tensor/fingerprint.h"
#include "format/tensor/tensor.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::container {

/// One per file. Planes that exist in memory are written from where they are; others are read unit by unit into one
/// buffer.
class TensorWriter {
 public:
  /// `fingerprints` gets one entry per tensor once flush() has been called on `blobs`. With `reuse_fingerprints` those
  /// that the tensors carry are taken over unchecked. `journal` (or null) says what an earlier run has left in the
  /// file, and is told what is finished.
  TensorWriter(BlobWriter& blobs, std::vector<tensor::TakenFingerprint>& fingerprints, bool reuse_fingerprints,
               WriteJournal* journal);
  ~TensorWriter();

  /// Queues everything of tensor `number`; returns the blob numbers of its planes. The tensor must live until the last
  /// flush().
  [[nodiscard]] std::vector<std::size_t> add(const tensor::Tensor& tensor, std::size_t number);

 private:
  class InPassing;
  struct StreamedPlane {
    std::size_t index = 0;  // among the planes of the tensor
    std::size_t blob = 0;
    std::uint64_t unit_bytes = 0;
    std::uint64_t next_chunk = 0;
    std::vector<std::byte> carry;  // bytes of the next chunk that were read with the last window
    std::byte* region = nullptr;   // of the current window, in buffer_
  };

  void add_bytes(const tensor::Tensor& tensor, const tensor::PlaneSpec& spec, std::size_t blob, Bytes bytes,
                 const ChunkTask* task);
  /// `fingerprint` (or null) gets the values of the units.
  void add_units(const tensor::Tensor& tensor, std::vector<StreamedPlane> planes, tensor::UnitFingerprint* fingerprint);
  [[nodiscard]] const ChunkTask* window_task(tensor::UnitFingerprint& fingerprint,
                                             const std::vector<StreamedPlane>& planes, std::uint64_t unit_begin,
                                             std::uint64_t unit_end, std::uint64_t code_bytes);
  void read_window(const tensor::Tensor& tensor, std::vector<StreamedPlane>& planes, std::uint64_t unit_begin,
                   std::uint64_t unit_end);
  [[nodiscard]] std::byte* take_buffer(std::uint64_t bytes);

  BlobWriter& blobs_;
  std::vector<tensor::TakenFingerprint>& fingerprints_;
  bool reuse_fingerprints_;
  WriteJournal* journal_;
  std::deque<std::unique_ptr<InPassing>> in_passing_;
  std::deque<std::unique_ptr<tensor::UnitFingerprint>> unit_fingerprints_;
  std::deque<std::unique_ptr<const ChunkTask>> window_tasks_;
  std::vector<std::vector<float>> values_;  // by worker
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_used_ = 0;
};

}  // namespace ingot::container
