#include "format/tensor/canonical_tiles.h"

#include <algorithm>
#include <cstring>

#include "format/base/checked_math.h"
#include "format/tensor/packing.h"
#include "format/tensor/tile_loops.h"

namespace ingot::tensor {
namespace {

constexpr std::uint64_t kAheadElems = 65'536;
constexpr std::uint64_t kPieceElems = 2048;  // canonicalized and hashed at a time: stays in the first-level cache

bool all_have_views(const Tensor& tensor) {
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  for (std::size_t i = 0; i < specs.size(); ++i)
    if (specs[i].sliced && !tensor.planes->view(i)) return false;
  return true;
}

/// Do rows move within heads at most?
bool stay_in_heads(const Tensor& tensor) {
  return std::all_of(tensor.transforms.begin(), tensor.transforms.end(),
                     [](const Transform& transform) { return transform.kind == TransformKind::rope_interleave; });
}

}  // namespace

bool CanonicalTiles::takes(const Tensor& tensor) {
  if (tensor.packing != Packing::tiles) return false;
  const LogicalDecoder decoder(tensor);
  // Rows that are scattered over the tensor are picked where they lie, but not read unit by unit.
  const bool in_reach = stay_in_heads(tensor) || all_have_views(tensor);
  return decoder.only_moves_rows() && in_reach && decoder.stored().tile_form() != TileForm::none;
}

CanonicalTiles::CanonicalTiles(const Tensor& tensor)
    : geometry_(tensor.geometry()),
      source_(tensor.planes),
      decoder_(tensor),
      form_(decoder_.stored().tile_form()),
      code_bits_(bits(tensor.scheme.codes.type)) {
  for (const PlaneSpec& spec : tensor.plane_specs()) {
    const std::size_t index = views_.size();
    views_.push_back(spec.sliced ? source_->view(index) : std::optional<Bytes>(source_->whole(index)));
    unit_bytes_.push_back(spec.sliced ? spec.unit_bytes : 0);
  }
  const bool is_stream = form_ == TileForm::nibbles || form_ == TileForm::table16;
  row_code_bytes_ = is_stream ? geometry_.cols / 2 : geometry_.cols;
}

std::pair<std::uint64_t, std::uint64_t> CanonicalTiles::units_ending_in(std::uint64_t begin,
                                                                        std::uint64_t end) const noexcept {
  return decoder_.units_ending_in(begin, end);
}

/// Has units [unit_begin, unit_end) of all planes without a view in memory; those that are there already stay.
void CanonicalTiles::read_units(std::uint64_t unit_begin, std::uint64_t unit_end, Scratch& scratch) const {
  if (scratch.unit_begin <= unit_begin && unit_end <= scratch.unit_end) return;
  const bool go_on = scratch.unit_begin <= unit_begin && unit_begin < scratch.unit_end;
  const std::uint64_t kept_end = go_on ? scratch.unit_end : unit_begin;
  std::vector<std::byte*> wanted(views_.size(), nullptr);
  bool any = false;
  scratch.units.resize(views_.size());
  for (std::size_t i = 0; i < views_.size(); ++i) {
    if (views_[i]) continue;
    std::vector<std::byte>& bytes = scratch.units[i];
    const std::uint64_t kept_bytes = (kept_end - unit_begin) * unit_bytes_[i];
    if (go_on && scratch.unit_begin != unit_begin)
      std::memmove(bytes.data(), bytes.data() + (unit_begin - scratch.unit_begin) * unit_bytes_[i], kept_bytes);
    bytes.resize(std::max<std::size_t>(bytes.size(), (unit_end - unit_begin) * unit_bytes_[i]));
    wanted[i] = bytes.data() + kept_bytes;
    any = true;
  }
  scratch.unit_begin = scratch.unit_end = 0;  // should the source throw
  if (any) source_->read_units(kept_end, unit_end, wanted);
  scratch.unit_begin = unit_begin;
  scratch.unit_end = unit_end;
}

/// Of logical rows [row_begin, row_end); what has a view is looked at there.
CanonicalTiles::Units CanonicalTiles::units_of_rows(std::uint64_t row_begin, std::uint64_t row_end,
                                                    Scratch& scratch) const {
  std::uint64_t first = decoder_.stored_row(row_begin), last = first;
  for (std::uint64_t row = row_begin; row < row_end; ++row) {
    first = std::min(first, decoder_.stored_row(row));
    last = std::max(last, decoder_.stored_row(row));
  }
  read_units(unit_of(first), unit_of(last) + 1, scratch);
  Units units{scratch.unit_begin, scratch.unit_end, std::vector<Bytes>(views_.size())};
  for (std::size_t i = 0; i < views_.size(); ++i) {
    const std::uint64_t bytes = (units.end - units.begin) * unit_bytes_[i];
    if (!views_[i])
      units.planes[i] = Bytes(scratch.units[i]).first(bytes);
    else if (unit_bytes_[i] != 0)
      units.planes[i] = views_[i]->subspan(units.begin * unit_bytes_[i], bytes);
  }
  return units;
}

void CanonicalTiles::load_tile(std::uint64_t unit, const Units& units, Scratch& scratch) const {
  if (scratch.tile == unit) return;
  scratch.tile = unit;
  scratch.planes.resize(views_.size());
  for (std::size_t i = 0; i < views_.size(); ++i) {
    scratch.planes[i] =
        unit_bytes_[i] == 0 ? views_[i]->data() : units.planes[i].data() + (unit - units.begin) * unit_bytes_[i];
  }
  load_codes(scratch);
  scratch.is_ordinary = stored().read_tile_runs(unit, scratch.planes, scratch.runs) && !has_nan_codes(scratch);
}

/// A row's words one after the other are its stream of codes of 4 or 8 bits; others are joined from their slices.
void CanonicalTiles::load_codes(Scratch& scratch) const {
  scratch.codes.resize(kTileRows * row_code_bytes_ / sizeof(std::uint32_t));
  if (code_bits_ == 4 || code_bits_ == 8) {
    return tile_loops().rows_of_lines(scratch.planes[0], row_code_bytes_ / sizeof(std::uint32_t),
                                      reinterpret_cast<std::byte*>(scratch.codes.data()), row_code_bytes_);
  }
  const CodeSlices slices = code_slices(code_bits_);
  const std::byte* planes[3] = {};
  for (std::size_t i = 0; i < slices.count; ++i) planes[i] = scratch.planes[i];
  unpack_tile(code_bits_, planes, 0, geometry_.cols, reinterpret_cast<std::uint8_t*>(scratch.codes.data()),
              row_code_bytes_);
}

bool CanonicalTiles::has_nan_codes(const Scratch& scratch) const noexcept {
  constexpr std::uint8_t kNan = 0x7F;  // of e4m3, but for the sign
  if (form_ != TileForm::e4m3) return false;
  const std::span<const std::byte> codes = std::as_bytes(std::span(scratch.codes));
  std::uint8_t found = 0;
  for (const std::byte code : codes) found |= (std::to_integer<std::uint8_t>(code) & kNan) == kNan;
  return found != 0;
}

void CanonicalTiles::run_loop(std::uint64_t row_in_tile, std::uint64_t col_begin, std::uint64_t col_end,
                              std::uint32_t* out, const Scratch& scratch) const noexcept {
  const std::byte* codes = reinterpret_cast<const std::byte*>(scratch.codes.data()) + row_in_tile * row_code_bytes_;
  const TileRuns runs{scratch.runs.scales.data(), scratch.runs.zeros.data(), scratch.runs.adds.data(),
                      stored().run_cols()};
  const TileLoops& loops = tile_loops();
  switch (form_) {
    case TileForm::nibbles: return loops.canonical_nibbles(codes, col_begin, col_end, runs, row_in_tile, out);
    case TileForm::table16:
      return loops.canonical_table16(codes, stored().tile_table(), col_begin, col_end, runs, row_in_tile, out);
    case TileForm::e4m3: return loops.canonical_e4m3(codes, col_begin, col_end, runs, row_in_tile, out);
    case TileForm::bytes:
      return loops.canonical_bytes(codes, stored().tile_flip(), col_begin, col_end, runs, row_in_tile, out);
    case TileForm::none: break;  // not taken
  }
}

/// Canonical bits of columns [col_begin, col_end) of a stored row.
void CanonicalTiles::make_values(std::uint64_t row, std::uint64_t col_begin, std::uint64_t col_end, std::uint32_t* out,
                                 const Units& units, Scratch& scratch) const {
  load_tile(unit_of(row), units, scratch);
  if (scratch.is_ordinary) return run_loop(row % geometry_.rows % kTileRows, col_begin, col_end, out, scratch);
  const std::uint64_t from = col_begin / stored().window_alignment() * stored().window_alignment();
  std::vector<float> values(col_end - from);  // not the whole row for each of its pieces
  stored().decode(row, row + 1, from, col_end, values.data(), values.size(), scratch.decoded);
  bulk().canonical_f32(values.data() + (col_begin - from), out, col_end - col_begin);
}

void CanonicalTiles::hash(std::uint64_t begin, std::uint64_t block_elems, std::span<Hash128> hashes, const Units* given,
                          Scratch& scratch) const {
  const std::uint64_t cols = geometry_.cols;
  const std::uint64_t all_end = std::min(geometry_.elements, begin + hashes.size() * block_elems);
  if (begin >= all_end) return;
  const Units read = given != nullptr ? Units() : units_of_rows(begin / cols, (all_end - 1) / cols + 1, scratch);
  const Units& units = given != nullptr ? *given : read;
  scratch.tile = ~std::uint64_t{0};
  std::uint32_t canonical[kPieceElems];
  for (Hash128& hash : hashes) {
    const std::uint64_t end = std::min(all_end, begin + block_elems);
    Hasher128 hasher;
    std::uint64_t filled = 0;
    while (begin < end) {
      const std::uint64_t row = begin / cols, col = begin % cols;
      const std::uint64_t count = std::min({cols - col, end - begin, kPieceElems - filled});
      make_values(decoder_.stored_row(row), col, col + count, canonical + filled, units, scratch);
      filled += count;
      begin += count;
      if (filled < kPieceElems && begin < end) continue;
      hasher.update(std::as_bytes(std::span(canonical).first(filled)));
      filled = 0;
    }
    hash = hasher.digest();
  }
}

void CanonicalTiles::read(std::uint64_t begin, std::span<std::uint32_t> out, Scratch& scratch) const {
  if (out.empty()) return;
  const std::uint64_t cols = geometry_.cols, end = begin + out.size();
  // As many tiles at once as a block of a fingerprint has: those of some files lie side by side.
  const std::uint64_t at_once = std::max<std::uint64_t>(kAheadElems / (kTileRows * cols), 1);
  const std::uint64_t unit_end = ceil_div(unit_of((end - 1) / cols) + 1, at_once) * at_once;
  read_units(unit_of(begin / cols) / at_once * at_once, std::min(unit_end, geometry_.units), scratch);
  const Units units = units_of_rows(begin / cols, (end - 1) / cols + 1, scratch);
  for (std::uint64_t at = begin; at < end;) {
    const std::uint64_t row = at / cols, col = at % cols;
    const std::uint64_t count = std::min(cols - col, end - at);
    make_values(decoder_.stored_row(row), col, col + count, out.data() + (at - begin), units, scratch);
    at += count;
  }
}

}  // namespace ingot::tensor
