// Checks that hold for every layout inside safetensors checkpoints: values, packing of every part, the way back.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "converters/hf/codec.h"
#include "converters/layout_rows.h"
#include "converters/registry.h"
#include "converters/with_views.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"
#include "tests/temporary_directory.h"

namespace ingot::test {

inline std::vector<float> logical_values(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

/// Every tensor of `expected` (.safetensors of binary16: values after the library's own last rounding) equals the
/// model's value rounded to binary16.
inline void check_f16_values(const tensor::Model& model, const std::filesystem::path& expected) {
  const tensor::Model wanted = convert::hf_layout().read(expected, {});
  CHECK(!wanted.tensors.empty());
  for (const tensor::Tensor& row : wanted.tensors) {
    INFO(row.name);
    const tensor::Tensor* got = model.find(row.name);
    REQUIRE(got != nullptr);
    REQUIRE(got->shape == row.shape);
    const std::vector<float> a = logical_values(*got), b = logical_values(row);
    std::vector<std::uint16_t> rounded(a.size()), reference(b.size());
    tensor::f32_to_f16(a.data(), rounded.data(), a.size());
    tensor::f32_to_f16(b.data(), reference.data(), b.size());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
      differing += rounded[i] != reference[i] && (rounded[i] | reference[i]) != 0x8000;  // -0 counts as 0
    CHECK(differing == 0);
  }
}

/// The bytes that the recipe gives for the weight file, each segment in two cuts.
inline std::string restored_weights(const tensor::Model& model, const convert::Layout& layout) {
  std::string bytes;
  for (const tensor::SourceFile& file : model.source->files) {
    if (!file.path.ends_with(".safetensors")) continue;
    for (const tensor::Segment& segment : file.segments) {
      if (segment.kind == tensor::Segment::Kind::literal) {
        bytes += as_text(model.find_attachment(segment.attachment)->bytes.subspan(segment.begin, segment.size));
        continue;
      }
      const tensor::Tensor viewed = convert::with_views(*model.find(segment.tensor));
      std::vector<std::byte> piece(segment.size, std::byte{0xaa});
      const std::size_t cut = piece.size() / 3 + 1;
      layout.pack_segment(viewed, segment.part, 0, std::span(piece).first(std::min(cut, piece.size())));
      if (cut < piece.size()) layout.pack_segment(viewed, segment.part, cut, std::span(piece).subspan(cut));
      bytes += as_text(piece);
    }
  }
  return bytes;
}

inline std::string file_text(const std::filesystem::path& path) { return read_text_file(path, 1 << 26); }

/// Packing what was read, in pieces of odd sizes, gives the file's bytes. Where 4-bit codes are odd in number, the
/// lower half of the last byte means nothing (bitsandbytes puts the first code into the upper half).
inline void check_packing(const std::filesystem::path& directory) {
  constexpr std::uint64_t kPieceBytes = 101;
  const tensor::Model model = convert::read_model(directory);
  const convert::Layout& layout = *convert::find_layout(model.layout);
  for (const tensor::SourceFile& file : model.source->files) {
    std::string bytes = file_text(directory / file.path);
    std::uint64_t offset = 0;
    for (const tensor::Segment& segment : file.segments) {
      if (segment.kind == tensor::Segment::Kind::tensor && segment.part != "raw") {
        INFO(segment.tensor << " " << segment.part);
        const tensor::Tensor viewed = convert::with_views(*model.find(segment.tensor));
        std::string packed;
        for (std::uint64_t at = 0; at < segment.size; at += kPieceBytes) {
          std::vector<std::byte> piece(std::min(kPieceBytes, segment.size - at));
          layout.pack_segment(viewed, segment.part, at, piece);
          packed += as_text(piece);
        }
        const bool half_byte =
            segment.part == "codes" && viewed.elements() % 2 != 0 && tensor::bits(viewed.scheme.codes.type) == 4;
        if (half_byte)
          for (char* last : {&packed.back(), &bytes[offset + segment.size - 1]})
            *last = static_cast<char>(*last & 0xF0);
        CHECK((packed == bytes.substr(offset, segment.size)));
      }
      offset += segment.size;
    }
  }
}

/// layout -> .ingot -> restore gives every file of the directory back.
inline void check_restored_directory(const std::filesystem::path& directory) {
  const TemporaryDirectory scratch;
  const tensor::Model model = convert::read_model(directory);
  convert::ConvertOptions options;
  options.to = "ingot";
  options.write.sync = false;
  convert::convert(model, scratch / "model.ingot", options);
  const tensor::Model stored = convert::read_model(scratch / "model.ingot");
  convert::restore(stored, scratch / "back", false, {});
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    CHECK(file_text(entry.path()) == file_text(scratch.path() / "back" / name));
    names.insert(name);
  }
  CHECK(!names.empty());
}

/// A copy of a fixture whose weight file `change` edits as text.
template <class Change>
void copy_changed(const std::filesystem::path& from, const std::filesystem::path& to, const Change& change,
                  const char* file = "model.safetensors") {
  std::filesystem::copy(from, to);
  const std::filesystem::path weights = to / file;
  std::string bytes = file_text(weights);
  change(bytes);
  std::filesystem::permissions(weights, std::filesystem::perms::owner_all);
  std::ofstream(weights, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace ingot::test
