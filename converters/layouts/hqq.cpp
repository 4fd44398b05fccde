// The `hqq` row: modules of HQQ in safetensors, as its own state_dict() and transformers write them (X.W_q, X.scale,
// X.zero and one tensor for every fact), and in the qmodel.pt of its save_quantized(), where facts are plain values.
// Read-only.
//
// The weights, in row-major order, are seen as a matrix Q: rows of one group for axis 1, columns of one group for axis
// 0. Q is packed along its first dimension, so word w of `words` holds elements w, w + words, w + 2 words, ...
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/element_planes.h"
#include "converters/layouts/linear_modules.h"
#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"

namespace ingot::convert {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::Block;
using tensor::DType;

constexpr std::string_view kCodes = ".W_q";
constexpr std::uint64_t kMaxTextBytes = 64;

struct PackingRow {
  std::string_view name;  // of the fact `packing`; also the part's name
  std::uint8_t bits;      // of a field
  SegmentWords words;
};
constexpr std::array<PackingRow, 5> kPackings = {{{"8bit_u8", 8, {8, 1, 1, 0, true}},
                                                  {"4bit_u8", 4, {4, 2, 1, 4, true}},
                                                  {"3bit_32", 3, {3, 10, 4, 27, true}},
                                                  {"2bit_u8", 2, {2, 4, 1, 6, true}},
                                                  {"1bit_u8", 1, {1, 8, 1, 7, true}}}};

/// Facts that say nothing about the numbers: kept for the way back.
constexpr std::array<std::string_view, 14> kFacts = {
    "shape",         "nbits",       "group_size",        "axis",          "packing",     "channel_wise",
    "optimize",      "round_zero",  "unpack_view_dtype", "view_as_float", "quant_scale", "quant_zero",
    "compute_dtype", "offload_meta"};
constexpr std::array<std::string_view, 2> kFlags = {"encoded_state_dict", "stores_quant_config"};

/// Reads the facts of one module: tensors in safetensors, values of the pickle in the file of save_quantized(), where
/// older versions kept them, scales and zero points apart in a dictionary `meta`.
class Facts {
 public:
  Facts(const HfCheckpoint& checkpoint, const Stored& codes)
      : checkpoint_(checkpoint), codes_(codes), module_(codes.name().substr(0, codes.name().size() - kCodes.size())) {}

  [[nodiscard]] const std::string& module() const noexcept { return module_; }
  [[nodiscard]] const Stored* find(std::string_view fact) const {
    const Stored* stored = checkpoint_.find(module_ + "." + std::string(fact));
    return stored != nullptr ? stored : checkpoint_.find(module_ + ".meta." + std::string(fact));
  }
  [[nodiscard]] const Stored& at(std::string_view fact) const {
    const Stored* stored = find(fact);
    return stored != nullptr ? *stored : required_part(checkpoint_, codes_, module_ + "." + std::string(fact));
  }
  /// A whole number that is not negative, or `fallback` where the fact is absent.
  [[nodiscard]] std::uint64_t number(std::string_view fact, std::uint64_t fallback) const {
    const Stored* stored = find(fact);
    const WeightFact* said = stored == nullptr ? said_of(fact) : nullptr;
    if (stored == nullptr && said == nullptr) return fallback;
    std::int64_t value = -1;
    if (said != nullptr) {
      if (const auto* whole = std::get_if<std::int64_t>(said)) value = *whole;
    } else {
      if (element_count(*stored) != 1) fail(fact, "expected one number");
      const std::byte* bytes = stored->bytes().data();
      if (stored->type() == DType::i32) value = load_le<std::int32_t>(bytes);
      if (stored->type() == DType::i64) value = load_le<std::int64_t>(bytes);
      if (stored->type() == DType::u8 || stored->type() == DType::boolean) value = std::to_integer<int>(*bytes);
    }
    if (value < 0) fail(fact, "expected a whole number that is not negative");
    return static_cast<std::uint64_t>(value);
  }
  /// The fact where it is a number with a fraction.
  [[nodiscard]] std::optional<double> real(std::string_view fact) const {
    const Stored* stored = find(fact);
    if (stored == nullptr) {
      const WeightFact* said = said_of(fact);
      const double* value = said != nullptr ? std::get_if<double>(said) : nullptr;
      return value != nullptr ? std::optional(*value) : std::nullopt;
    }
    if (stored->type() != DType::f32) return std::nullopt;
    if (element_count(*stored) != 1) fail(fact, "expected one number");
    return load_le<float>(stored->bytes().data());
  }
  [[nodiscard]] std::string text(std::string_view fact) const {
    const WeightFact* said = find(fact) == nullptr ? said_of(fact) : nullptr;
    if (said != nullptr) {
      if (const auto* text = std::get_if<std::string>(said)) return *text;
      fail(fact, "expected a short text");
    }
    const Stored& stored = at(fact);
    if (stored.type() != DType::u8 || stored.bytes().size() > kMaxTextBytes) fail(fact, "expected a short text");
    return std::string(as_text(stored.bytes()));
  }
  [[nodiscard]] std::vector<std::int64_t> extents(std::string_view fact) const {
    const WeightFact* said = find(fact) == nullptr ? said_of(fact) : nullptr;
    if (said != nullptr) {
      if (const auto* extents = std::get_if<std::vector<std::int64_t>>(said)) return *extents;
      fail(fact, "expected extents");
    }
    const Stored& stored = at(fact);
    if (stored.type() != DType::i64 || element_count(stored) > kMaxFactExtents) fail(fact, "expected i64 extents");
    std::vector<std::int64_t> extents(element_count(stored));
    for (std::size_t i = 0; i < extents.size(); ++i) extents[i] = load_le<std::int64_t>(stored.bytes().data() + 8 * i);
    return extents;
  }
  [[noreturn]] void fail(std::string_view fact, const std::string& why, ErrorKind kind = ErrorKind::mismatch) const {
    if (const Stored* stored = find(fact)) fail_at(*stored, why, kind);
    fail_at(codes_, "its fact '" + std::string(fact) + "': " + why, kind);
  }

 private:
  [[nodiscard]] const WeightFact* said_of(std::string_view fact) const {
    const WeightFact* said = checkpoint_.fact(module_ + "." + std::string(fact));
    return said != nullptr ? said : checkpoint_.fact(module_ + ".meta." + std::string(fact));
  }

  const HfCheckpoint& checkpoint_;
  const Stored& codes_;
  std::string module_;
};

/// Bits of a code: 1.58 means three values in a field of two bits.
std::uint64_t code_bits(const Facts& facts) {
  const std::optional<double> real = facts.real("nbits");
  if (!real) return facts.number("nbits", 0);
  if (!(*real > 0 && *real <= 8)) facts.fail("nbits", "expected 1 to 8 bits");
  return static_cast<std::uint64_t>(std::ceil(*real));
}

const PackingRow& packing_of(const Facts& facts) {
  const std::string name = facts.text("packing");
  for (const PackingRow& row : kPackings)
    if (row.name == name) return row;
  facts.fail("packing", "packing \"" + name + "\" is not known", ErrorKind::unsupported);
}

/// How the weights are grouped.
struct Grouping {
  tensor::Shape shape;  // [out, in]
  std::uint64_t elements = 0, rows = 0, cols = 0;
  tensor::Shape parameters;  // [groups, 1] for axis 1, [1, groups] for axis 0; empty: one
  Block block;
  std::uint32_t flat = 0;
};

std::uint32_t as_extent(std::uint64_t value, const Facts& facts) {
  if (value > std::numeric_limits<std::uint32_t>::max()) facts.fail("shape", "groups of more than 2^32 - 1");
  return static_cast<std::uint32_t>(value);
}

tensor::Shape shape_of(const Facts& facts) {
  const std::vector<std::int64_t> extents = facts.extents("shape");
  if (extents.size() != 2) facts.fail("shape", "expected [outputs, inputs]");
  tensor::Shape shape;
  for (const std::int64_t extent : extents) {
    if (extent <= 0) facts.fail("shape", "extent " + std::to_string(extent));
    shape.push_back(static_cast<std::uint64_t>(extent));
  }
  return shape;
}

Grouping grouping_of(const Facts& facts) {
  Grouping grouping;
  grouping.shape = shape_of(facts);
  const std::uint64_t out = grouping.shape[0], in = grouping.shape[1];
  grouping.elements = checked_mul(out, in, "shape of " + facts.module());
  const std::uint64_t axis = facts.number("axis", 0);
  if (axis > 1) facts.fail("axis", "axis " + std::to_string(axis) + ", expected 0 or 1");
  if (facts.number("channel_wise", 1) == 0) {
    grouping.rows = out;
    grouping.cols = in;
    grouping.block = {0, 0};
    return grouping;
  }
  const std::uint64_t size = facts.number("group_size", axis == 1 ? in : out);
  if (size == 0 || grouping.elements % size != 0) {
    facts.fail("group_size", "groups of " + std::to_string(size) + " do not divide " +
                                 std::to_string(grouping.elements) + " weights");
  }
  const std::uint64_t groups = grouping.elements / size;
  grouping.parameters = axis == 1 ? tensor::Shape{groups, 1} : tensor::Shape{1, groups};
  grouping.rows = axis == 1 ? groups : size;
  grouping.cols = axis == 1 ? size : groups;
  if (axis == 1 && in % size == 0) {
    grouping.block = {1, as_extent(size, facts)};
  } else if (axis == 1) {
    grouping.flat = as_extent(size, facts);
    grouping.block = {1, 0};
  } else {
    grouping.block = {0, 1};
    if (groups != in) grouping.flat = as_extent(groups, facts);
  }
  return grouping;
}

class ModuleReader {
 public:
  ModuleReader(const HfCheckpoint& checkpoint, const Stored& codes) : codes_(codes), facts_(checkpoint, codes) {}

  [[nodiscard]] CodedTensor read() {
    refuse_nested();
    const PackingRow& packing = packing_of(facts_);
    const std::uint64_t bits = code_bits(facts_);
    if (bits == 0 || bits > packing.bits)
      facts_.fail("nbits", std::to_string(bits) + " bits in packing " + std::string(packing.name));
    const Grouping grouping = grouping_of(facts_);
    check_words(packing, grouping);

    tensor::Tensor& tensor = coded_.tensor;
    tensor.name = facts_.module() + ".weight";
    tensor.shape = grouping.shape;
    tensor.scheme = scheme_of(grouping, bits);
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);
    const std::uint64_t cols = tensor.geometry().cols;
    ElementParts parts;
    parts.load_codes = load_segments(codes_, packing.words, cols, grouping.elements);
    if (bits < packing.bits) parts.load_codes = checked_codes(std::move(parts.load_codes), bits, cols);
    for (const std::string_view role : {"scale", "zero"}) parts.others.push_back(parameters(role, grouping));
    parts.files = {part_of(codes_), part_of(facts_.at("scale")), part_of(facts_.at("zero"))};
    tensor.planes = element_planes(tensor, std::move(parts));
    coded_.parts.push_back({codes_.name(), "W_q." + std::string(packing.name)});
    coded_.parts.push_back({facts_.at("scale").name(), "scales_0"});
    coded_.parts.push_back({facts_.at("zero").name(), "zero_points"});
    for (const std::string_view fact : kFacts) add_fact(fact);
    for (const std::string_view fact : kFlags) add_fact(fact);
    return std::move(coded_);
  }

 private:
  void add_fact(std::string_view fact) {
    if (const Stored* stored = facts_.find(fact)) coded_.parts.push_back({stored->name(), ""});
  }
  /// Quantized scales and zero points: HQQ itself refuses to write them in this form.
  void refuse_nested() const {
    for (const std::string_view fact : {"quant_scale", "quant_zero"}) {
      if (facts_.number(fact, 0) != 0)
        facts_.fail(fact, "scales or zero points that are quantized themselves cannot be read", ErrorKind::unsupported);
    }
    for (const std::string_view part : {"zero_scale", "scale_q", "zero_q"}) {
      if (const Stored* stored = facts_.find(part))
        fail_at(*stored, "scales and zero points in this form cannot be read", ErrorKind::unsupported);
    }
  }
  void check_words(const PackingRow& packing, const Grouping& grouping) const {
    const std::uint64_t rows = ceil_div(grouping.rows, packing.words.fields);
    if (packing.bits != 3 && grouping.rows % packing.words.fields != 0)
      fail_at(codes_, std::to_string(grouping.rows) + " rows do not divide into " + std::string(packing.name));
    const std::uint64_t words = checked_mul(rows, grouping.cols, "words of " + codes_.name());
    const std::uint64_t bytes = checked_mul(words, packing.words.word_bytes, "bytes of " + codes_.name());
    if (codes_.bytes().size() != bytes) {
      fail_at(codes_, shape_text(grouping.shape) + " in packing " + std::string(packing.name) + " needs " +
                          std::to_string(bytes) + " bytes, got " + std::to_string(codes_.bytes().size()));
    }
  }
  [[nodiscard]] tensor::Scheme scheme_of(const Grouping& grouping, std::uint64_t bits) const {
    tensor::Scheme scheme;
    scheme.codes.type = unsigned_codes(bits);
    scheme.flat = grouping.flat;
    scheme.scales = {{.type = parameter("scale", grouping).type(), .block = grouping.block}};
    scheme.offset.kind = tensor::OffsetKind::zero_points;
    scheme.offset.levels = {{.type = parameter("zero", grouping).type(), .block = grouping.block}};
    return scheme;
  }
  [[nodiscard]] const Stored& parameter(std::string_view fact, const Grouping& grouping) const {
    const Stored& stored = facts_.at(fact);
    if (!is_parameter_float(stored.type())) fail_at(stored, "expected f16, bf16 or f32");
    const bool fits = grouping.parameters.empty() ? element_count(stored) == 1 : stored.shape() == grouping.parameters;
    if (!fits) fail_at(stored, "expected the shape " + shape_text(grouping.parameters) + " by axis and group_size");
    return stored;
  }
  [[nodiscard]] ElementParameters parameters(std::string_view fact, const Grouping& grouping) const {
    const Stored& stored = parameter(fact, grouping);
    const std::uint64_t row_bytes =
        grouping.flat == 0 ? stored.bytes().size() / grouping.shape[0] : tensor::bits(stored.type()) / 8;
    return dense_parameters(stored, row_bytes);
  }
  /// Codes of fewer bits than their fields: 5 and 6 bits in bytes, three values in 2 bits.
  [[nodiscard]] LoadCodes checked_codes(LoadCodes load, std::uint64_t bits, std::uint64_t cols) const {
    return [load = std::move(load), bits, cols, place = place_of(codes_)](std::uint64_t first, std::uint64_t count,
                                                                          std::uint8_t* codes) {
      load(first, count, codes);
      std::uint8_t seen = 0;
      for (std::uint64_t i = 0; i < count * cols; ++i) seen |= codes[i];
      if (seen >> bits != 0)
        throw Error(ErrorKind::invalid_value, place + ": codes beyond " + std::to_string(bits) + " bits");
    };
  }

  const Stored& codes_;
  Facts facts_;
  CodedTensor coded_;
};

bool claims(const HfCheckpoint& checkpoint) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(),
                     [](const Stored& stored) { return stored.name().ends_with(kCodes); });
}

/// What config.json says of all modules, against the facts of one.
void compare_config(const HfCheckpoint& checkpoint, const Facts& facts, FindingList& findings) {
  const Json* found = checkpoint.quantization() != nullptr ? checkpoint.quantization()->find("quant_config") : nullptr;
  if (found != nullptr && found->is_object()) found = found->find("weight_quant_params");
  if (found == nullptr || !found->is_object()) return;
  for (const std::string_view key : {"nbits", "group_size", "axis"}) {
    const Json* said = found->find(key);
    if (said == nullptr || !said->is_integer() || facts.real(key)) continue;
    constexpr double kMost = 1e9;
    const double number = said->as_double(key);
    const auto configured = static_cast<std::uint64_t>(std::clamp(number, 0.0, kMost));
    const std::uint64_t stored = facts.number(key, configured);
    if (configured == stored && number >= 0 && number <= kMost) continue;
    findings.add("the config says " + std::string(key) + " " +
                     std::to_string(static_cast<std::int64_t>(std::clamp(number, -kMost, kMost))) +
                     ", the tensors say " + std::to_string(stored),
                 facts.module());
  }
}

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  CodedTensors result;
  FindingList findings;
  for (const Stored& stored : checkpoint.tensors()) {
    if (!stored.name().ends_with(kCodes)) continue;
    result.tensors.push_back(ModuleReader(checkpoint, stored).read());
    compare_config(checkpoint, Facts(checkpoint, stored), findings);
  }
  result.findings = findings.sentences();
  return result;
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part == "scales_0" || part == "zero_points") return pack_row_plane(tensor, part, begin, out);
  for (const PackingRow& row : kPackings) {
    if (part != "W_q." + std::string(row.name)) continue;
    // Three bits pad the rows of Q to ten per word; Q's columns are the groups, or the inputs of a group.
    const std::uint64_t elements = tensor.elements();
    if (row.bits != 3) return pack_segments(tensor, row.words, ceil_div(elements, row.words.fields), begin, out);
    const Block block = tensor.scheme.scales[0].block;
    std::uint64_t cols = tensor.shape[1];
    if (tensor.scheme.flat != 0) cols = tensor.scheme.flat;
    if (block.rows == 1 && block.cols != 0) cols = block.cols;
    return pack_segments(tensor, row.words, ceil_div(elements / cols, row.words.fields) * cols, begin, out);
  }
  throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': hqq has no part '" + std::string(part) + "'");
}

bool one_encoding(const tensor::Tensor&, std::string_view part) {
  return part != "W_q.3bit_32";  // two bits of every word, and the padding rows, may hold anything
}

const HfCodec& hqq_codec() noexcept {
  static const HfCodec codec = {.layout = "hqq",
                                .description = "HQQ checkpoint directory, safetensors: 1 to 8 bits (read only)",
                                .claims = claims,
                                .read = read,
                                .pack = pack,
                                .one_encoding = one_encoding};
  return codec;
}

}  // namespace

const Layout& hqq_layout() noexcept {
  static const Layout row = hf_coded_layout<hqq_codec>();
  return row;
}

}  // namespace ingot::convert
