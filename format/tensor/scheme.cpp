// What a scheme may and may not combine, and its printed form. Implements spec/schemes/README.md sections 4 and 5.
#include "format/tensor/scheme.h"

#include "format/base/error.h"
#include "format/tensor/tables.h"

namespace ingot::tensor {
namespace {

constexpr std::size_t kMaxScaleLevels = 3;
constexpr std::size_t kMaxMinimumLevels = 2;
constexpr std::int32_t kMaxShift = 64;
constexpr std::int32_t kMaxZero = 128;
constexpr std::int32_t kMaxLevelConstant = 32767;  // keeps multiply * s + add within 32 bits
constexpr std::size_t kMaxTableName = 64;

[[noreturn]] void refuse(std::string_view where, const std::string& what) {
  throw Error(ErrorKind::invalid_value, std::string(where) + ": " + what);
}

bool is_zero_point(DType type) noexcept {
  return !info(type).is_float || type == DType::f16 || type == DType::bf16 || type == DType::f32;
}

bool is_code_index(DType type) noexcept {
  const DTypeInfo& row = info(type);
  return !row.is_float && !row.is_signed && row.bits <= 8 && type != DType::boolean;
}

/// u9, u10, u11: too wide for a code of a byte, too narrow for a number of their own.
bool is_grid_index_only(DType type) noexcept { return bits(type) > 8 && bits(type) % 8 != 0; }

void validate_codes(const Scheme& scheme, std::string_view where) {
  const Codes& codes = scheme.codes;
  const bool named = codes.kind == CodeKind::table || codes.kind == CodeKind::grid;
  if (named == codes.table.empty())
    refuse(where, "codes.table must name a table for the kinds table and grid, and only for these");
  if (codes.table.size() > kMaxTableName) refuse(where, "codes.table is longer than 64 bytes");
  if (codes.kind == CodeKind::table && !is_code_index(codes.type)) {
    refuse(where, "codes.type of a table must be u1..u8, got " + std::string(name(codes.type)));
  }
  const bool grid_index = codes.type == DType::u8 || is_grid_index_only(codes.type);
  if (codes.kind == CodeKind::grid ? !grid_index : is_grid_index_only(codes.type)) {
    refuse(where,
           "codes of a grid have a type of u8 to u11, others none of u9 to u11; got " + std::string(name(codes.type)));
  }
  if (codes.kind == CodeKind::number && !info(codes.type).decodable) {
    refuse(where,
           "codes of type " + std::string(name(codes.type)) + " have no numeric meaning; their kind must be opaque");
  }
  if (codes.kind == CodeKind::table) {
    const CodeTable* table = find_code_table(codes.table);
    if (table == nullptr && codes.table != kCustomTable) refuse(where, "unknown codes.table \"" + codes.table + "\"");
    if (table != nullptr && table->entries.size() != std::size_t{1} << bits(codes.type)) {
      refuse(where, "codes.table " + codes.table + " has " + std::to_string(table->entries.size()) +
                        " entries, codes are " + std::string(name(codes.type)));
    }
  }
  if (codes.kind == CodeKind::opaque && !(scheme.scales.empty() && scheme.offset.kind == OffsetKind::none &&
                                          scheme.order == Order::identity && scheme.flat == 0 && scheme.shift == 0)) {
    refuse(where, "opaque codes take no scales, offset, order, shift or flat");
  }
}

void validate_level(const Level& level, const std::string& where) {
  const DTypeInfo& row = info(level.type);
  if (level.custom_table && !is_code_index(level.type))
    refuse(where, "custom_table needs a type of u1..u8, got " + std::string(row.name));
  if (level.multiply == 0) refuse(where, "multiply must not be 0");
  const bool has_constants = level.multiply != 1 || level.add != 0;
  if (has_constants && (row.is_float || level.custom_table))
    refuse(where, "multiply and add need an integer type without table");
  if (level.multiply < -kMaxLevelConstant || level.multiply > kMaxLevelConstant || level.add < -kMaxLevelConstant ||
      level.add > kMaxLevelConstant) {
    refuse(where, "multiply and add must lie in -32767..32767");
  }
  if (!row.decodable || level.type == DType::boolean || row.bits > 32 || is_grid_index_only(level.type) ||
      (has_constants && row.bits > 16)) {
    refuse(where, "type " + std::string(row.name) + " cannot hold a level");
  }
}

void validate_offset(const Scheme& scheme, std::string_view where) {
  const Offset& offset = scheme.offset;
  const std::string at = std::string(where) + ".offset";
  if (offset.zero < -kMaxZero || offset.zero > kMaxZero)
    refuse(at, "zero must lie in -128..128, got " + std::to_string(offset.zero));
  if (offset.kind != OffsetKind::zero && offset.zero != 0) refuse(at, "zero is only for kind zero");
  const bool takes_levels = offset.kind != OffsetKind::none && offset.kind != OffsetKind::zero;
  if (takes_levels == offset.levels.empty())
    refuse(at, "levels belong to zero_points, bias and minimum, and only to these");
  if ((offset.kind == OffsetKind::zero_points || offset.kind == OffsetKind::bias) && offset.levels.size() != 1) {
    refuse(at, "zero_points and bias take exactly one level");
  }
  if (offset.kind == OffsetKind::minimum && offset.levels.size() > kMaxMinimumLevels) {
    throw Error(ErrorKind::limit_exceeded,
                at + ".levels: " + std::to_string(offset.levels.size()) + " levels, limit 2 for a minimum");
  }
  for (std::size_t i = 0; i < offset.levels.size(); ++i) {
    validate_level(offset.levels[i], at + ".levels[" + std::to_string(i) + "]");
    if (offset.levels[i].custom_table || offset.levels[i].divide)
      refuse(at, "custom_table and divide are only for scales");
  }
  if (offset.kind == OffsetKind::zero_points && !is_zero_point(offset.levels[0].type)) {
    refuse(at, "zero points must be integers or f16, bf16, f32, got " + std::string(name(offset.levels[0].type)));
  }
  if (offset.kind == OffsetKind::bias && !info(offset.levels[0].type).is_float) refuse(at, "a bias must be a float");
}

void validate_scales(const Scheme& scheme, std::string_view where) {
  if (scheme.scales.size() > kMaxScaleLevels) {
    throw Error(ErrorKind::limit_exceeded,
                std::string(where) + ".scales: " + std::to_string(scheme.scales.size()) + " levels, limit 3");
  }
  std::size_t tables = 0;
  for (std::size_t i = 0; i < scheme.scales.size(); ++i) {
    const std::string at = std::string(where) + ".scales[" + std::to_string(i) + "]";
    validate_level(scheme.scales[i], at);
    if (scheme.scales[i].divide && !(scheme.rounded_scale && info(scheme.scales[i].type).is_float))
      refuse(at, "divide needs a float type and rounded_scale");
    tables += scheme.scales[i].custom_table ? 1 : 0;
  }
  if (tables > 1) refuse(where, "at most one scale level may have custom_table");
  if (scheme.scales.empty() && (scheme.rounded_scale || scheme.rounded_steps || scheme.scale_offset))
    refuse(where, "rounded_scale, rounded_steps and scale_offset need scales");
  if (scheme.scale_offset && !scheme.rounded_scale) refuse(where, "scale_offset needs rounded_scale");
  if (scheme.rounded_steps && (scheme.rounded_scale || scheme.shift != 0))
    refuse(where, "rounded_steps excludes rounded_scale and shift");
  if (scheme.shift < -kMaxShift || scheme.shift > kMaxShift)
    refuse(where, "shift must lie in -64..64, got " + std::to_string(scheme.shift));
}

std::string_view offset_suffix(const Offset& offset) noexcept {
  constexpr std::string_view kSuffixes[] = {"", "_z", "_zp", "_bias", "_min"};
  if (offset.kind == OffsetKind::zero_points && info(offset.levels[0].type).is_float) return "_fzp";
  return kSuffixes[static_cast<std::size_t>(offset.kind)];
}

std::string scale_suffix(const std::vector<Level>& scales) {
  std::string text;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    if (scales[i].divide)
      text += i == 0 ? "_1/" : "/";
    else
      text += i == 0 ? "_" : "x";
    text += name(scales[i].type);
  }
  return text;
}

std::string block_suffix(const Scheme& scheme) {
  if (scheme.flat != 0) {
    const bool by_place = !scheme.scales.empty() && scheme.scales[0].block == Block{0, 1};
    return std::string("_flat").append(std::to_string(scheme.flat)).append(by_place ? "_0x1" : "");
  }
  if (scheme.scales.empty()) return {};
  const Block block = scheme.scales[0].block;
  if (block == Block{0, 0}) return "_tensor";
  if (block == Block{1, 0}) return "_row";
  if (block.rows == 1) return std::string("_g").append(std::to_string(block.cols));
  return std::string("_").append(std::to_string(block.rows)).append("x").append(std::to_string(block.cols));
}

}  // namespace

Scheme Scheme::plain(DType type) {
  Scheme scheme;
  scheme.codes.kind = info(type).decodable ? CodeKind::number : CodeKind::opaque;
  scheme.codes.type = type;
  return scheme;
}

bool Scheme::is_plain() const noexcept {
  return codes.kind == CodeKind::number && scales.empty() && offset.kind == OffsetKind::none &&
         order == Order::identity && flat == 0 && shift == 0;
}

void validate(const Scheme& scheme, std::string_view where) {
  validate_codes(scheme, where);
  validate_scales(scheme, where);
  validate_offset(scheme, where);
  if (scheme.flat != 0) {
    if (scheme.order != Order::identity) refuse(where, "flat and order exclude each other");
    const bool by_block_or_place =
        scheme.scales.empty() || scheme.scales[0].block == Block{1, 0} || scheme.scales[0].block == Block{0, 1};
    if (!by_block_or_place) refuse(where, "flat needs block [1,0] or [0,1] for the finest scale");
  }
  if (scheme.codes.kind == CodeKind::grid && (scheme.flat != 0 || scheme.order != Order::identity)) {
    refuse(where, "grid codes take neither flat nor an order");
  }
  if (bits(scheme.codes.type) > 32 && scheme.codes.kind == CodeKind::number && !scheme.is_plain()) {
    refuse(where,
           "codes of type " + std::string(name(scheme.codes.type)) + " take no scales, offset, order, shift or flat");
  }
}

std::string describe(const Scheme& scheme) {
  const bool named = scheme.codes.kind == CodeKind::table || scheme.codes.kind == CodeKind::grid;
  std::string text = named ? scheme.codes.table : std::string(name(scheme.codes.type));
  if (scheme.codes.kind == CodeKind::table && scheme.codes.table == kCustomTable)
    text.append("_").append(name(scheme.codes.type));
  text += block_suffix(scheme);
  text += scale_suffix(scheme.scales);
  text += offset_suffix(scheme.offset);
  if (scheme.offset.kind == OffsetKind::zero) text += std::to_string(scheme.offset.zero);
  if (scheme.rounded_steps) text += "_steps";
  if (scheme.order == Order::permutation) text += "_perm";
  if (scheme.order == Order::group_index) text += "_gidx";
  return text;
}

}  // namespace ingot::tensor
