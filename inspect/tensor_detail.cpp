#include "inspect/tensor_detail.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "format/base/parallel.h"
#include "format/tensor/decode.h"
#include "inspect/overview.h"

namespace ingot::inspect {
namespace {

using tensor::CodeKind;
using tensor::DType;
using tensor::PlaneSpec;
using tensor::Tensor;

constexpr std::uint64_t kShownValues = 8;
constexpr std::uint64_t kShownCodes = 16;

struct Sums {
  double minimum = std::numeric_limits<double>::infinity(), maximum = -std::numeric_limits<double>::infinity();
  double sum = 0, squares = 0;
  std::uint64_t finite = 0, zeros = 0, nans = 0, infinities = 0;
  std::vector<float> values;

  void add(float value) {
    if (std::isnan(value)) {
      ++nans;
    } else if (std::isinf(value)) {
      ++infinities;
    } else {
      ++finite;
      zeros += value == 0;
      sum += value;
      squares += static_cast<double>(value) * value;
      minimum = std::min(minimum, static_cast<double>(value));
      maximum = std::max(maximum, static_cast<double>(value));
    }
  }
};

ValueStatistics statistics_of(const Tensor& tensor) {
  constexpr std::uint64_t kBlockElems = 65536;
  std::vector<Sums> workers(static_cast<std::size_t>(thread_count()));
  tensor::ValueReader reader(tensor);
  parallel_for(tensor.elements(), 8 * kBlockElems, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    Sums& sums = workers[static_cast<std::size_t>(worker)];
    for (std::uint64_t at = begin; at < end; at += kBlockElems) {
      sums.values.resize(std::min(kBlockElems, end - at));
      reader.read(at, sums.values, worker);
      for (const float value : sums.values) sums.add(value);
    }
    reader.done_with(begin, end);
  });
  reader.done_with(0, tensor.elements());
  Sums all;
  for (const Sums& sums : workers) {
    all.minimum = std::min(all.minimum, sums.minimum);
    all.maximum = std::max(all.maximum, sums.maximum);
    all.sum += sums.sum;
    all.squares += sums.squares;
    all.finite += sums.finite;
    all.zeros += sums.zeros;
    all.nans += sums.nans;
    all.infinities += sums.infinities;
  }
  ValueStatistics result;
  result.zeros = all.zeros;
  result.nans = all.nans;
  result.infinities = all.infinities;
  if (all.finite > 0) {
    result.minimum = all.minimum;
    result.maximum = all.maximum;
    result.mean = all.sum / static_cast<double>(all.finite);
    result.rms = std::sqrt(all.squares / static_cast<double>(all.finite));
  }
  return result;
}

/// `count` elements of `type`, dense, as numbers.
std::vector<double> numbers(DType type, Bytes dense, std::uint64_t count) {
  if (!tensor::info(type).decodable || count == 0) return {};
  const std::uint64_t bytes = tensor::dense_bytes(type, count);
  if (bytes > dense.size()) return {};
  Tensor plain;
  plain.shape = {count};
  plain.scheme = tensor::Scheme::plain(type);
  std::vector<std::vector<std::byte>> planes(1);
  planes[0].assign(dense.begin(), dense.begin() + static_cast<std::ptrdiff_t>(bytes));
  plain.planes = tensor::planes_in_memory(std::move(planes), plain.shape, plain.scheme, plain.packing);
  std::vector<float> values(count);
  tensor::decode_logical(plain, values);
  return {values.begin(), values.end()};
}

/// Unit 0 of every sliced plane.
std::vector<std::vector<std::byte>> first_units(const Tensor& tensor, const std::vector<PlaneSpec>& specs) {
  std::vector<std::vector<std::byte>> units(specs.size());
  std::vector<std::byte*> out(specs.size(), nullptr);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (!specs[i].sliced) continue;
    units[i].resize(specs[i].unit_bytes);
    out[i] = units[i].data();
  }
  if (tensor.geometry().units > 0) tensor.planes->read_units(0, 1, out);
  return units;
}

std::vector<double> first_codes(const Tensor& tensor, const std::vector<PlaneSpec>& specs,
                                const std::vector<std::vector<std::byte>>& units) {
  const tensor::Geometry geometry = tensor.geometry();
  const std::uint8_t bits = tensor::bits(tensor.scheme.codes.type);
  if (bits > 8 || geometry.units == 0) return {};
  std::array<const std::byte*, 3> planes{};
  for (std::size_t i = 0; i < specs.size() && i < planes.size() && specs[i].role.starts_with("codes"); ++i)
    planes[i] = units[i].data();
  std::vector<std::uint8_t> codes(geometry.rows_per_unit * geometry.cols);
  tensor::unpack_unit(geometry, bits, planes.data(), codes.data());
  const std::uint64_t count = std::min(kShownCodes, geometry.cols);
  const bool is_signed =
      tensor::info(tensor.scheme.codes.type).is_signed && !tensor::info(tensor.scheme.codes.type).is_float;
  std::vector<double> result;
  for (std::uint64_t i = 0; i < count; ++i) result.push_back(is_signed ? static_cast<std::int8_t>(codes[i]) : codes[i]);
  return result;
}

std::vector<double> first_parameters(const Tensor& tensor, const PlaneSpec& spec, const std::vector<std::byte>& unit) {
  const std::uint64_t count = std::min(kShownValues, spec.cols);
  const tensor::Geometry geometry = tensor.geometry();
  if (geometry.units == 0) return {};
  // Elements that are no whole number of bytes take one or two bytes each on the plain side.
  const std::uint64_t element_bits = tensor::bits(spec.type), element_bytes = (element_bits + 7) / 8;
  const DType plain_type = element_bits % 8 == 0 ? spec.type : element_bits < 8 ? DType::u8 : DType::u16;
  std::vector<std::byte> plain(geometry.rows_per_unit * spec.cols * element_bytes);
  tensor::unpack_parameters(geometry, spec.type, spec.cols, unit.data(), plain.data());
  return numbers(plain_type, plain, count);
}

Json numbers_json(const auto& values) {
  Json json(JsonArray{});
  for (const double value : values) {
    if (std::isfinite(value)) {
      json.push_back(value);
    } else {
      json.push_back(short_float(value));
    }
  }
  return json;
}

std::string numbers_text(const auto& values) {
  std::string text;
  for (const double value : values) text += (text.empty() ? "" : " ") + short_float(value);
  return text;
}

std::string block_text(const PlaneSpec& spec) {
  if (spec.role.starts_with("codes") || spec.role == "signs") return "";
  const auto extent = [](std::uint32_t value) { return value == 0 ? std::string("all") : std::to_string(value); };
  return extent(spec.block.rows) + " x " + extent(spec.block.cols);
}

}  // namespace

TensorDetail tensor_detail(const Tensor& tensor) {
  TensorDetail detail;
  detail.tensor = &tensor;
  if (tensor.scheme.codes.kind != CodeKind::opaque) {
    detail.statistics = statistics_of(tensor);
    detail.first_values.resize(std::min(kShownValues, tensor.elements()));
    if (!detail.first_values.empty()) tensor::decode_logical_range(tensor, 0, detail.first_values);
  }
  const std::vector<PlaneSpec> specs = tensor.plane_specs();
  const std::vector<std::vector<std::byte>> units = first_units(tensor, specs);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    PlaneDetail plane{specs[i], {}};
    if (!specs[i].sliced) {
      const Bytes all = tensor.planes->whole(i);
      const std::uint64_t elements = specs[i].total_bytes * 8 / tensor::bits(specs[i].type);
      plane.first = numbers(specs[i].type, all, std::min(kShownValues, elements));
    } else if (tensor.scheme.codes.kind == CodeKind::grid) {  // indexes and signs are packed as parameters are
      plane.first = first_parameters(tensor, specs[i], units[i]);
    } else if (i == 0 && !tensor.scheme.is_plain()) {
      plane.first = first_codes(tensor, specs, units);
    } else if (!specs[i].role.starts_with("codes") && specs[i].role != "signs") {
      plane.first = first_parameters(tensor, specs[i], units[i]);
    }
    detail.planes.push_back(std::move(plane));
  }
  return detail;
}

std::string tensor_detail_text(const TensorDetail& detail, const TextStyle& style) {
  using Align = TextTable::Align;
  const Tensor& tensor = *detail.tensor;
  const std::uint64_t bytes = tensor.stored_bytes(), elements = tensor.elements();
  const tensor::SchemeFamily* family = tensor::family(tensor.scheme);
  FactList list;
  list.add("shape", shape_text(tensor.shape) + ", " + plural(elements, "weight"));
  list.add("scheme", tensor::describe(tensor.scheme) +
                         (family != nullptr ? " (" + std::string(family->name) + ")" : std::string()));
  list.add("packing", std::string(tensor::name(tensor.packing)));
  if (!tensor.transforms.empty()) list.add("stored as", transforms_text(tensor));
  list.add("size", human_bytes(bytes) + ", " + fixed(bits_per_weight(bytes, elements), 2) + " bits per weight");
  if (tensor.fingerprint) list.add("fingerprint", tensor.fingerprint->hex());
  const ValueStatistics& statistics = detail.statistics;
  if (!detail.first_values.empty()) {
    list.add("range", short_float(statistics.minimum) + " to " + short_float(statistics.maximum) + ", mean " +
                          short_float(statistics.mean) + ", rms " + short_float(statistics.rms));
    list.add("zeros", with_separators(statistics.zeros));
    if (statistics.nans + statistics.infinities > 0) {
      list.add("not finite",
               plural(statistics.nans, "NaN") + ", " + with_separators(statistics.infinities) + " infinite");
    }
    list.add("first values", numbers_text(detail.first_values));
  }
  TextTable table({{"PLANE", Align::left},
                   {"TYPE", Align::left},
                   {"EACH FOR", Align::left},
                   {"BYTES", Align::right},
                   {"FIRST ELEMENTS", Align::left, Elide::end}});
  for (const PlaneDetail& plane : detail.planes) {
    table.add_row({plane.spec.role, std::string(tensor::name(plane.spec.type)), block_text(plane.spec),
                   human_bytes(plane.spec.total_bytes), numbers_text(plane.first)});
  }
  return paint(printable(tensor.name), Ink::strong, style) + "\n" + list.render(style) + "\n" + table.render(style);
}

Json tensor_detail_json(const TensorDetail& detail) {
  Json json = tensor_json(*detail.tensor);
  const ValueStatistics& statistics = detail.statistics;
  if (!detail.first_values.empty()) {
    Json values;
    values.set("minimum", statistics.minimum);
    values.set("maximum", statistics.maximum);
    values.set("mean", statistics.mean);
    values.set("rms", statistics.rms);
    values.set("zeros", statistics.zeros);
    values.set("nans", statistics.nans);
    values.set("infinities", statistics.infinities);
    json.set("values", std::move(values));
    json.set("first_values", numbers_json(detail.first_values));
  }
  Json planes(JsonArray{});
  for (const PlaneDetail& plane : detail.planes) {
    Json entry;
    entry.set("role", plane.spec.role);
    entry.set("type", tensor::name(plane.spec.type));
    entry.set("bytes", plane.spec.total_bytes);
    entry.set("block", JsonArray{Json(plane.spec.block.rows), Json(plane.spec.block.cols)});
    entry.set("first", numbers_json(plane.first));
    planes.push_back(std::move(entry));
  }
  json.set("planes", std::move(planes));
  return json;
}

}  // namespace ingot::inspect
