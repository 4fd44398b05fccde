// From a codec to its registry row. Included by the codecs' own files.
#pragma once

#include "converters/hf/codec.h"
#include "converters/hf/planes.h"
#include "converters/hf/read.h"
#include "converters/hf/write.h"

namespace ingot::convert {

/// Does the path hold a checkpoint that the codec claims? Never throws.
[[nodiscard]] bool is_claimed(const std::filesystem::path& path, const HfCodec& codec) noexcept;

/// The registry row of a codec. Layout's function pointers carry no context, hence the template parameter: the accessor
/// function of the codec.
template <const HfCodec& (*codec)() noexcept>
[[nodiscard]] Layout hf_coded_layout() {
  Layout row{};
  row.name = codec().layout;
  row.description = codec().description;
  row.detect = [](const std::filesystem::path& path) { return is_claimed(path, codec()); };
  row.read = [](const std::filesystem::path& path, const ReadOptions& options) {
    return read_hf(path, options, &codec());
  };
  if (codec().plan != nullptr) {
    row.forecast = [](const tensor::Model& model, const WriteOptions& options) {
      return forecast_hf(model, options, &codec());
    };
    row.write = [](const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options) {
      write_hf(model, path, options, &codec());
    };
  }
  row.pack_segment = [](const tensor::Tensor& tensor, const std::string& part, std::uint64_t begin,
                        std::span<std::byte> out) {
    part == "raw" ? pack_plain(tensor, begin, out) : codec().pack(tensor, part, begin, out);
  };
  row.find_patches = [](tensor::Model& model) { find_hf_patches(model, codec()); };
  row.is_directory = true;
  row.carries_column_order = codec().carries_column_order;
  row.packs_from_views = true;
  return row;
}

}  // namespace ingot::convert
