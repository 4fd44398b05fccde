// The `exl2` row: modules of ExLlamaV2 (X.q_weight, X.q_scale, X.q_scale_max, X.q_groups, X.q_invperm). Read-only.
//
// Inputs are permuted and cut in groups, each with its own number of bits. In the neutral tensor all codes have the
// width of the widest group; a zero point per group, 2^(bits - 1), says how wide its codes are (spec/rationale.md).
// Scales are the binary16 products that the kernels of ExLlamaV2 form; what they are formed of is kept verbatim.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "converters/hf/codec_layout.h"
#include "converters/layout_rows.h"
#include "converters/layouts/element_planes.h"
#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/tensor/float_codes.h"

namespace ingot::convert {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr std::string_view kCodes = ".q_weight", kTrellis = ".trellis";
constexpr std::uint64_t kPaddedColumns = 32, kWordBits = 32, kScalesPerWord = 8;

/// Where the code of one input position lies in a column of words.
struct Place {
  std::uint64_t word = 0;
  std::uint8_t shift = 0, bits = 0;
};

/// Positions of equal or different widths, one dense stream after the other.
std::vector<Place> places_of(const std::vector<std::uint8_t>& bits) {
  std::vector<Place> places(bits.size());
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (i != 0 && bits[i] != bits[i - 1]) at = ceil_div(at, kWordBits) * kWordBits;
    places[i] = {at / kWordBits, static_cast<std::uint8_t>(at % kWordBits), bits[i]};
    at += bits[i];
  }
  return places;
}

struct Group {
  std::uint64_t begin = 0, rows = 0;  // positions
  std::uint8_t bits = 0;
};

class ModuleReader {
 public:
  ModuleReader(const HfCheckpoint& checkpoint, const Stored& codes)
      : checkpoint_(checkpoint),
        codes_(codes),
        module_(codes.name().substr(0, codes.name().size() - kCodes.size())),
        scale_(part("q_scale")),
        greatest_(part("q_scale_max")),
        groups_stored_(part("q_groups")) {}

  [[nodiscard]] CodedTensor read() {
    if (codes_.type() != DType::i32 || codes_.shape().size() != 2 || element_count(codes_) == 0)
      fail_at(codes_, "expected a matrix of i32");
    padded_ = codes_.shape()[1];
    if (padded_ % kPaddedColumns != 0) fail_at(codes_, "expected a multiple of 32 columns");
    read_permutation();
    read_groups();
    if (scale_.type() != DType::i32 || scale_.shape() != tensor::Shape{groups_.size(), padded_ / kScalesPerWord})
      fail_at(scale_, "expected i32 [" + std::to_string(groups_.size()) + ", " + std::to_string(padded_ / 8) + "]");
    if (greatest_.type() != DType::f16 || element_count(greatest_) != groups_.size())
      fail_at(greatest_, "expected " + std::to_string(groups_.size()) + " f16");

    tensor::Tensor& tensor = coded_.tensor;
    tensor.name = module_ + ".weight";
    tensor.shape = {outputs(), permutation_.size()};
    std::uint8_t widest = 0;
    for (const Group& group : groups_) widest = std::max(widest, group.bits);
    tensor.scheme.codes.type = unsigned_codes(widest);
    tensor.scheme.scales = {{.type = DType::f16, .block = {1, block_}}};
    tensor.scheme.offset.kind = tensor::OffsetKind::zero_points;
    tensor.scheme.offset.levels = {{.type = DType::u8, .block = {0, block_}}};
    tensor.scheme.order = tensor::Order::permutation;
    tensor.packing = tensor::canonical_packing(tensor.shape, tensor.scheme);

    ElementParts parts;
    parts.load_codes = code_loader();
    parts.others = {{scale_loader(), {}}, owned_parameters(zero_points()), owned_parameters(permutation_plane())};
    parts.files = {part_of(codes_), part_of(scale_)};
    tensor.planes = element_planes(tensor, std::move(parts));
    coded_.parts.push_back({codes_.name(), "q_weight"});
    for (const std::string_view name : {"q_scale", "q_scale_max", "q_groups", "q_invperm", "q_perm", "q_group_map"})
      if (const Stored* stored = find(name)) coded_.parts.push_back({stored->name(), ""});
    return std::move(coded_);
  }

 private:
  [[nodiscard]] const Stored* find(std::string_view name) const {
    return checkpoint_.find(module_ + "." + std::string(name));
  }
  [[nodiscard]] const Stored& part(std::string_view name) const {
    return required_part(checkpoint_, codes_, module_ + "." + std::string(name));
  }
  /// Columns are padded to a multiple of 32; a bias, or the vocabulary for the head, tells how many count.
  [[nodiscard]] std::uint64_t outputs() const {
    const auto rounds_to_padded = [&](std::uint64_t count) {
      return count != 0 && count <= padded_ && padded_ - count < kPaddedColumns;
    };
    if (const Stored* bias = find("bias")) {
      if (!rounds_to_padded(element_count(*bias)))
        fail_at(*bias, "expected " + std::to_string(padded_ - kPaddedColumns + 1) + " to " + std::to_string(padded_) +
                           " elements");
      return element_count(*bias);
    }
    const Json* config = checkpoint_.config();
    const Json* vocabulary = config != nullptr && config->is_object() ? config->find("vocab_size") : nullptr;
    if (module_.ends_with("lm_head") && vocabulary != nullptr && vocabulary->is_integer()) {
      const double size = vocabulary->as_double("vocab_size");
      if (size >= 1 && size <= static_cast<double>(padded_) && rounds_to_padded(static_cast<std::uint64_t>(size)))
        return static_cast<std::uint64_t>(size);
    }
    return padded_;
  }

  /// Position of every input -> input at every position.
  void read_permutation() {
    const Stored* inverse = find("q_invperm");
    const Stored& stored = inverse != nullptr ? *inverse : part("q_perm");
    const bool wide = stored.type() == DType::i32;
    if (!wide && stored.type() != DType::i16) fail_at(stored, "expected i32 or i16");
    const std::uint64_t inputs = element_count(stored);
    if (inputs == 0) fail_at(stored, "empty");
    std::vector<bool> seen(inputs);
    permutation_.resize(inputs);
    for (std::uint64_t i = 0; i < inputs; ++i) {
      const std::byte* at = stored.bytes().data() + i * (wide ? 4 : 2);
      const std::uint32_t other = wide ? load_le<std::uint32_t>(at) : load_le<std::uint16_t>(at);
      if (other >= inputs || seen[other])
        fail_at(stored, "entry " + std::to_string(i) + ", " + std::to_string(other) + ", makes it no permutation");
      seen[other] = true;
      if (inverse != nullptr)
        permutation_[other] = static_cast<std::uint32_t>(i);
      else
        permutation_[i] = other;
    }
  }

  void read_groups() {
    const Stored& stored = groups_stored_;
    const std::uint64_t count = element_count(stored) / 2, inputs = permutation_.size();
    if (stored.type() != DType::i16 || element_count(stored) % 2 != 0 || count == 0)
      fail_at(stored, "expected pairs of i16");
    const auto entry = [&](std::uint64_t i) -> std::uint64_t {
      return load_le<std::uint16_t>(stored.bytes().data() + 2 * i);
    };
    std::uint64_t position = 0, words = 0, block = 0;
    for (std::uint64_t g = 0; g < count; ++g) {
      const std::uint64_t bits = entry(2 * g), first = entry(2 * g + 1);
      const std::string where = "group " + std::to_string(g);
      if (bits < 2 || bits > 8 || bits == 7) fail_at(stored, where + " has " + std::to_string(bits) + " bits");
      if (first != words)
        fail_at(stored, where + " begins at row " + std::to_string(first) + ", expected " + std::to_string(words));
      const bool last = g + 1 == count;
      if (position >= inputs)
        fail_at(stored, where + " begins beyond the last of " + std::to_string(inputs) + " inputs");
      std::uint64_t rows = inputs - position;
      if (!last) {
        const std::uint64_t next = entry(2 * g + 3);
        if (next <= first || (next - first) * kWordBits % bits != 0 || (next - first) * kWordBits / bits > rows)
          fail_at(stored, where + " ends at row " + std::to_string(next) + ", which " + std::to_string(bits) +
                              "-bit codes do not fill");
        rows = (next - first) * kWordBits / bits;
        block = std::gcd(block, rows);
      }
      groups_.push_back({position, rows, static_cast<std::uint8_t>(bits)});
      position += rows;
      words += ceil_div(rows * bits, kWordBits);
    }
    if (words != codes_.shape()[0]) fail_at(codes_, "its groups need " + std::to_string(words) + " rows");
    block_ = static_cast<std::uint32_t>(block == 0 ? inputs : block);
  }

  /// The group that parameter column `column` lies in.
  [[nodiscard]] std::vector<std::uint32_t> group_of_columns() const {
    std::vector<std::uint32_t> group(ceil_div(permutation_.size(), block_));
    for (std::size_t g = 0; g < groups_.size(); ++g)
      for (std::uint64_t p = groups_[g].begin; p < groups_[g].begin + groups_[g].rows; p += block_)
        group[p / block_] = static_cast<std::uint32_t>(g);
    return group;
  }
  [[nodiscard]] std::vector<std::byte> zero_points() const {
    std::vector<std::byte> zeros;
    for (const std::uint32_t group : group_of_columns())
      zeros.push_back(static_cast<std::byte>(1u << (groups_[group].bits - 1)));
    return zeros;
  }
  [[nodiscard]] std::vector<std::byte> permutation_plane() const {
    std::vector<std::byte> plane(permutation_.size() * sizeof(std::uint32_t));
    std::memcpy(plane.data(), permutation_.data(), plane.size());
    return plane;
  }

  [[nodiscard]] LoadCodes code_loader() const {
    std::vector<std::uint8_t> bits(permutation_.size());
    for (const Group& group : groups_)
      std::fill_n(bits.begin() + static_cast<std::ptrdiff_t>(group.begin), group.rows, group.bits);
    return [places = places_of(bits), words = codes_.bytes(), padded = padded_](
               std::uint64_t first, std::uint64_t count, std::uint8_t* codes) {
      for (std::size_t p = 0; p < places.size(); ++p) {
        const Place place = places[p];
        const std::byte* row = words.data() + (place.word * padded + first) * 4;
        const bool straddles = place.shift + place.bits > static_cast<int>(kWordBits);
        const auto mask = static_cast<std::uint64_t>((1u << place.bits) - 1);
        for (std::uint64_t n = 0; n < count; ++n) {
          std::uint64_t field = load_le<std::uint32_t>(row + 4 * n);
          if (straddles) field |= std::uint64_t{load_le<std::uint32_t>(row + (padded + n) * 4)} << 32;
          codes[n * places.size() + p] = static_cast<std::uint8_t>(field >> place.shift & mask);
        }
      }
    };
  }
  /// s = f16((f + 1)^2 * f16(greatest / 256)), as the kernels compute it; f is a field of 4 bits.
  [[nodiscard]] LoadParameters scale_loader() const {
    std::vector<std::array<std::uint16_t, 16>> tables;
    for (std::uint64_t g = 0; g < groups_.size(); ++g) {
      float greatest = 0;
      const auto stored = load_le<std::uint16_t>(greatest_.bytes().data() + 2 * g);
      std::uint16_t half = 0;
      tensor::f16_to_f32(&stored, &greatest, 1);
      const float product = greatest * (1.0f / 256);
      tensor::f32_to_f16(&product, &half, 1);
      float unit = 0;
      tensor::f16_to_f32(&half, &unit, 1);
      std::array<float, 16> scales{};
      for (std::size_t f = 0; f < scales.size(); ++f) scales[f] = static_cast<float>((f + 1) * (f + 1)) * unit;
      tensor::f32_to_f16(scales.data(), tables.emplace_back().data(), scales.size());
    }
    return [tables = std::move(tables), group = group_of_columns(), fields = scale_.bytes(),
            row_words = padded_ / kScalesPerWord](std::uint64_t first, std::uint64_t count, std::byte* out) {
      for (std::uint64_t n = first; n < first + count; ++n) {
        for (const std::uint32_t g : group) {
          const auto word = load_le<std::uint32_t>(fields.data() + (g * row_words + n / kScalesPerWord) * 4);
          store_le(out, tables[g][word >> (4 * (n % kScalesPerWord)) & 15]);
          out += sizeof(std::uint16_t);
        }
      }
    };
  }

  const HfCheckpoint& checkpoint_;
  const Stored& codes_;
  std::string module_;
  const Stored &scale_, &greatest_, &groups_stored_;
  std::uint64_t padded_ = 0;
  std::uint32_t block_ = 0;
  std::vector<std::uint32_t> permutation_;
  std::vector<Group> groups_;
  CodedTensor coded_;
};

bool claims(const HfCheckpoint& checkpoint) {
  return std::any_of(checkpoint.tensors().begin(), checkpoint.tensors().end(), [](const Stored& stored) {
    return stored.name().ends_with(kCodes) || stored.name().ends_with(kTrellis);
  });
}

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions&) {
  CodedTensors result;
  for (const Stored& stored : checkpoint.tensors()) {
    if (stored.name().ends_with(kTrellis))
      fail_at(stored, "EXL3 codes are made by a trellis on a GPU: they cannot be read", ErrorKind::unsupported);
    if (stored.name().ends_with(kCodes)) result.tensors.push_back(ModuleReader(checkpoint, stored).read());
  }
  return result;
}

void pack(const tensor::Tensor& tensor, std::string_view part, std::uint64_t begin, std::span<std::byte> out) {
  if (part != "q_weight")
    throw Error(ErrorKind::invalid_value, "tensor '" + tensor.name + "': exl2 has no part '" + std::string(part) + "'");
  ElementView view(tensor);
  const Bytes zeros = view.whole("zero_points");
  const std::uint64_t inputs = tensor.shape[1], outputs = tensor.shape[0],
                      block = tensor.scheme.scales.at(0).block.cols;
  std::vector<std::uint8_t> bits(inputs);
  for (std::uint64_t p = 0; p < inputs; ++p)
    bits[p] = static_cast<std::uint8_t>(std::bit_width(std::to_integer<std::uint8_t>(zeros[p / block])));
  const std::vector<Place> places = places_of(bits);
  const std::uint64_t padded = ceil_div(outputs, kPaddedColumns) * kPaddedColumns;
  const std::uint64_t first = begin / 4 / padded, last = ceil_div(begin + out.size(), 4 * padded);  // rows of words
  std::vector<std::uint32_t> words((last - first) * padded);
  std::vector<std::uint8_t> codes(inputs);
  for (std::uint64_t n = 0; n < padded; ++n) {
    if (n < outputs) view.codes(n * inputs, codes);
    for (std::uint64_t p = 0; p < inputs; ++p) {
      const Place place = places[p];
      if (place.word + 1 < first || place.word >= last) continue;
      const std::uint32_t code = n < outputs ? codes[p] : 1u << (place.bits - 1);
      const std::uint64_t field = std::uint64_t{code} << place.shift;
      if (place.word >= first) words[(place.word - first) * padded + n] |= static_cast<std::uint32_t>(field);
      const bool straddles = place.shift + place.bits > static_cast<int>(kWordBits);
      if (straddles && place.word + 1 >= first && place.word + 1 < last)
        words[(place.word + 1 - first) * padded + n] |= static_cast<std::uint32_t>(field >> kWordBits);
    }
  }
  std::memcpy(out.data(), reinterpret_cast<const std::byte*>(words.data()) + (begin - first * padded * 4), out.size());
}

/// Padding columns, and the rest of a last word, may hold anything.
bool one_encoding(const tensor::Tensor& tensor, std::string_view) {
  return tensor.shape[0] % kPaddedColumns == 0 && tensor.shape[1] % kWordBits == 0;
}

const HfCodec& exl2_codec() noexcept {
  static const HfCodec codec = {
      .layout = "exl2",
      .description = "ExLlamaV2 checkpoint directory: 2 to 8 bits mixed within a matrix (read only)",
      .claims = claims,
      .read = read,
      .pack = pack,
      .one_encoding = one_encoding};
  return codec;
}

}  // namespace

const Layout& exl2_layout() noexcept {
  static const Layout row = hf_coded_layout<exl2_codec>();
  return row;
}

}  // namespace ingot::convert
