// A tensor of an earlier run that is in the partial file already: its chunk rows and its fingerprint, to and from the
// journal's terms.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "format/base/write_journal.h"
#include "format/container/blob_writer.h"

namespace ingot::container {

/// Takes over the chunks of the blobs begun last where an earlier run wrote them and the file still has them; returns
/// the fingerprint that was computed then. Flushes `blobs` first when it needs to know where they begin.
[[nodiscard]] std::optional<Hash128> keep_tensor(WriteJournal* journal, BlobWriter& blobs, std::string_view tensor,
                                                 std::span<const std::size_t> blob_numbers);

/// For the next run; the chunks are written.
void record_tensor(WriteJournal* journal, const BlobWriter& blobs, std::string_view tensor,
                   std::span<const std::size_t> blob_numbers, const Hash128& fingerprint);

}  // namespace ingot::container
