#include "converters/hf/write_plan.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <mutex>

#include "converters/dropped_tensors.h"
#include "converters/files/safetensors.h"
#include "converters/hf/config.h"
#include "converters/hf/planes.h"
#include "converters/hf/unit_band.h"
#include "converters/hf_names.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "converters/with_views.h"
#include "format/base/checked_math.h"
#include "format/base/parallel.h"
#include "format/tensor/bulk.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/unit_fingerprint.h"

namespace ingot::convert {
namespace {

using tensor::DType;
using tensor::Tensor;
using tensor::TransformKind;

constexpr std::uint64_t kPieceElems = std::uint64_t{1} << 18;
constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;

struct WrittenType {
  std::string_view scheme;
  DType type;
};
constexpr std::array<WrittenType, 3> kWrittenTypes = {
    {{"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}}};

bool is_opaque(const Tensor& tensor) { return tensor.scheme.codes.kind == tensor::CodeKind::opaque; }

bool is_value_type(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

bool only_transpose(const Tensor& tensor) {
  return tensor.transforms.size() == 1 && tensor.transforms.front().kind == TransformKind::transpose;
}

bool changes_values(const Tensor& tensor) {
  return std::any_of(tensor.transforms.begin(), tensor.transforms.end(),
                     [](const tensor::Transform& transform) { return transform.kind == TransformKind::add_one; });
}

/// Elements of 4 bits times a power of two: BF16 holds every value.
bool is_mxfp4(const tensor::Scheme& scheme) noexcept {
  return scheme.codes.kind == tensor::CodeKind::number && scheme.codes.type == DType::e2m1 && scheme.shift == 0 &&
         scheme.scales.size() == 1 && scheme.scales[0].type == DType::e8m0 &&
         scheme.offset.kind == tensor::OffsetKind::none;
}

/// The element type without --scheme: the tensor's own where it is written as it is, else one that holds every value.
DType kept_type(const Tensor& tensor) {
  const DType type = tensor.scheme.codes.type;
  const bool plain = tensor.scheme.is_plain() && safetensors_type_of(type) != nullptr;
  if (!plain) return is_mxfp4(tensor.scheme) ? DType::bf16 : DType::f32;
  if (tensor.transforms.empty()) return type;
  return is_value_type(type) && !changes_values(tensor) ? type : DType::f32;
}

/// Ends a plan that needs no arithmetic, or says why there is none.
bool plan_opaque(HfItem& item) {
  const DType type = item.tensor.scheme.codes.type;
  if (!is_opaque(item.tensor)) return false;
  item.type = type;
  if (safetensors_type_of(type) == nullptr || !item.tensor.transforms.empty()) {
    item.form = HfItem::Form::refused;
    item.reason = "opaque " + std::string(tensor::name(type)) + " has no safetensors type";
  }
  return true;
}

bool stays_integer(const Tensor& tensor) {
  const tensor::DTypeInfo& type = tensor::info(tensor.scheme.codes.type);
  return tensor.scheme.is_plain() && !type.is_float && tensor.transforms.empty() &&
         safetensors_type_of(type.type) != nullptr;
}

HfItem plan_item(const Tensor& tensor, const std::string& architecture, std::optional<DType> wanted) {
  HfItem item;
  item.tensor = tensor;
  const std::size_t rank = tensor.shape.size();
  const bool turned = (is_hf_conv1d(tensor.name, architecture) && rank == 2) ||
                      (is_hf_expert_stack(tensor.name, architecture) && rank == 3);
  if (turned && only_transpose(tensor)) {  // stored as the file wants it
    item.tensor.shape = tensor.stored_shape();
    item.tensor.transforms.clear();
  }
  item.file_shape = item.tensor.shape;
  if (plan_opaque(item)) return item;
  item.type = wanted && !stays_integer(item.tensor) ? *wanted : kept_type(item.tensor);
  const bool as_stored = item.tensor.scheme.is_plain() && item.tensor.packing == tensor::Packing::rows &&
                         item.tensor.transforms.empty() && item.type == item.tensor.scheme.codes.type;
  if (turned && !only_transpose(tensor)) {
    std::swap(item.file_shape[rank - 2], item.file_shape[rank - 1]);
    item.form = HfItem::Form::transposed;
    if (!is_value_type(item.type)) item.type = DType::f32;
    return item;
  }
  item.form = as_stored ? HfItem::Form::bytes : HfItem::Form::values;
  if (!as_stored && !is_value_type(item.type)) item.type = DType::f32;
  return item;
}

/// Multimodal configs are copied as they are; their classes look for the language model one level down.
bool is_wrapped(const tensor::Model& model) {
  const tensor::Attachment* config = model.find_attachment("hf/config.json");
  if (config == nullptr) return false;
  const Json json = parse_json(as_text(config->bytes), "config.json");
  const Json* text_config = json.find("text_config");
  return text_config != nullptr && text_config->is_object();
}

// --- Values ----------------------------------------------------------------------------------------------------------
void narrow(std::span<const float> values, DType type, std::byte* out) {
  if (type == DType::f32) {
    std::copy_n(std::as_bytes(values).data(), values.size_bytes(), out);
    return;
  }
  auto* halves = reinterpret_cast<std::uint16_t*>(out);  // buffers come from std::vector: aligned
  if (type == DType::f16) {
    tensor::f32_to_f16(values.data(), halves, values.size());
  } else {
    tensor::f32_to_bf16(values.data(), halves, values.size());
  }
}

bool all_fit(std::span<const float> values, DType type) {
  return (type == DType::f16 ? tensor::bulk().all_fit_f16 : tensor::bulk().all_fit_bf16)(values.data(), values.size());
}

/// Every number of `from` is one of `to`.
bool type_contains(DType from, DType to) {
  if (from == to || to == DType::f32) return true;
  const tensor::DTypeInfo& source = tensor::info(from);
  return source.is_float && source.bits <= 8 && from != DType::e8m0;
}

struct Buffers {
  std::vector<float> values;
  std::vector<std::byte> bytes;
};

/// Through a buffer even where there is a view: writing from mapped pages costs the kernel a fault for each of them.
void write_bytes(const HfItem& item, JournaledRange& file, std::uint64_t offset,
                 const std::function<void(std::uint64_t)>& progress) {
  const std::uint64_t total = tensor::dense_bytes(item.type, item.tensor.elements());
  const std::uint64_t row_bits = item.tensor.geometry().cols * tensor::bits(item.type), row_bytes = row_bits / 8;
  const bool has_view = row_bits % 8 == 0 && item.tensor.planes->view(0);
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(total, kPieceBytes), 1, [&](std::uint64_t piece_begin, std::uint64_t piece_end, int worker) {
    std::vector<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = piece_begin; piece < piece_end; ++piece) {
      const std::uint64_t begin = piece * kPieceBytes, size = std::min(kPieceBytes, total - begin);
      buffer.resize(size);
      pack_plain(item.tensor, begin, buffer);
      file.write_at(offset + begin, buffer);
      if (has_view && row_bytes > 0) item.tensor.planes->done_with(begin / row_bytes, (begin + size) / row_bytes);
      progress(size);
    }
  });
}

void write_values(const HfItem& item, JournaledRange& file, std::uint64_t offset,
                  const std::function<void(std::uint64_t)>& progress) {
  const std::uint64_t elements = item.tensor.elements();
  const std::uint64_t element_bytes = tensor::bits(item.type) / 8;
  tensor::ValueReader reader(item.tensor);
  std::vector<Buffers> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(elements, kPieceElems), 1, [&](std::uint64_t piece_begin, std::uint64_t piece_end, int worker) {
    Buffers& buffer = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = piece_begin; piece < piece_end; ++piece) {
      const std::uint64_t begin = piece * kPieceElems;
      const std::uint64_t count = std::min(kPieceElems, elements - begin);
      buffer.values.resize(count);
      buffer.bytes.resize(count * element_bytes);
      reader.read(begin, buffer.values, worker);
      narrow(buffer.values, item.type, buffer.bytes.data());
      file.write_at(offset + begin * element_bytes, buffer.bytes);
      reader.done_with(begin, begin + count);
      progress(buffer.bytes.size());
    }
  });
}

/// Strips of logical rows [out] are decoded whole and written as columns of the file. Of a stack, strips of every
/// matrix.
void write_transposed(const HfItem& item, JournaledRange& file, std::uint64_t offset,
                      const std::function<void(std::uint64_t)>& progress) {
  const tensor::Shape& shape = item.tensor.shape;
  const std::uint64_t matrices = shape.size() == 3 ? shape[0] : 1;
  const std::uint64_t outputs = shape[shape.size() - 2], inputs = shape.back();
  const std::uint64_t element_bytes = tensor::bits(item.type) / 8;
  if (outputs == 0 || inputs == 0) return;
  const std::uint64_t strip = std::clamp<std::uint64_t>(4 * kPieceElems / inputs, 1, outputs);
  const std::uint64_t strips = ceil_div(outputs, strip);
  tensor::ValueReader reader(item.tensor);
  std::vector<Buffers> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(matrices * strips, 1, [&](std::uint64_t strip_begin, std::uint64_t strip_end, int worker) {
    Buffers& buffer = buffers[static_cast<std::size_t>(worker)];
    std::vector<float> column;
    for (std::uint64_t i = strip_begin; i < strip_end; ++i) {
      const std::uint64_t matrix = i / strips * outputs, first = i % strips * strip;
      const std::uint64_t count = std::min(strip, outputs - first);
      buffer.values.resize(count * inputs);
      column.resize(count);
      buffer.bytes.resize(count * element_bytes);
      reader.read((matrix + first) * inputs, buffer.values, worker);
      for (std::uint64_t input = 0; input < inputs; ++input) {
        for (std::uint64_t output = 0; output < count; ++output)
          column[output] = buffer.values[output * inputs + input];
        narrow(column, item.type, buffer.bytes.data());
        file.write_at(offset + (matrix * inputs + input * outputs + first) * element_bytes, buffer.bytes);
      }
      progress(count * inputs * element_bytes);
    }
  });
}

void write_given(const HfItem& item, JournaledRange& file, std::uint64_t offset,
                 const std::function<void(std::uint64_t)>& progress) {
  file.write_at(offset, item.given_bytes);
  progress(item.given_bytes.size());
}

/// The first `total` bytes of a part of `viewed`.
void write_packed(const std::string& part, std::uint64_t total, const Tensor& viewed, const HfCodec& codec,
                  JournaledRange& file, std::uint64_t offset, const std::function<void(std::uint64_t)>& progress) {
  std::vector<std::vector<std::byte>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(total, kPieceBytes), 1, [&](std::uint64_t piece_begin, std::uint64_t piece_end, int worker) {
    std::vector<std::byte>& buffer = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = piece_begin; piece < piece_end; ++piece) {
      const std::uint64_t begin = piece * kPieceBytes;
      buffer.resize(std::min(kPieceBytes, total - begin));
      codec.pack(viewed, part, begin, buffer);
      file.write_at(offset + begin, buffer);
      progress(buffer.size());
    }
  });
}

/// Larger tensors are brought into memory in bands, once for each part, where parts are made row by row.
constexpr std::uint64_t kBandBytes = std::uint64_t{48} << 20;

bool goes_in_bands(const Tensor& tensor, const HfCodec& codec) {
  return codec.packs_by_rows && has_bands(tensor) && tensor.stored_bytes() > kLargePlanesBytes;
}

void write_bands(const HfItem& item, const HfCodec& codec, PlaneBuffers& buffers, JournaledRange& file,
                 std::uint64_t offset, const std::function<void(std::uint64_t)>& progress) {
  const Tensor& tensor = item.coded->tensor;
  const std::uint64_t units = tensor.geometry().units, row_bytes = item.bytes() / tensor.shape[0];
  const std::uint64_t band_units =
      tensor::units_in_whole_blocks(tensor, kBandBytes / ceil_div(tensor.stored_bytes(), units));
  for (std::uint64_t begin = 0; begin < units; begin += band_units) {
    const Tensor band = band_of(tensor, begin, std::min(units, begin + band_units));
    write_packed(item.part, band.shape[0] * row_bytes, with_views(band, buffers), codec, file,
                 offset + begin * tensor::kTileRows * row_bytes, progress);
  }
}

/// The items of a tensor that the layout codes or refuses; false when it is left to the plain writer, with the reason.
bool add_coded_items(const Tensor& tensor, const std::string& file_name, const tensor::Model& model,
                     const WriteOptions& options, const HfCodec& codec, std::vector<HfItem>& items,
                     std::string& why_plain) {
  auto plan = std::make_shared<CodedPlan>(codec.plan(tensor, file_name, model, options));
  if (plan->proof == ProofClass::refused) {
    HfItem item;
    item.tensor = tensor;
    item.file_name = file_name;
    item.form = HfItem::Form::refused;
    item.reason = plan->reason;
    items.push_back(std::move(item));
    return true;
  }
  for (CodedItem& coded : plan->items) {
    HfItem item;
    item.tensor.name = tensor.name;  // its planes are in the plan
    item.file_name = coded.file_name;
    item.plain_name = file_name;
    item.type = coded.type;
    item.file_shape = coded.shape;
    item.form = coded.part.empty() ? HfItem::Form::given : HfItem::Form::packed;
    item.part = coded.part;
    item.given_bytes = std::move(coded.bytes);
    item.coded = plan;
    items.push_back(std::move(item));
  }
  if (plan->items.empty()) why_plain = std::move(plan->reason);
  return !plan->items.empty();
}

/// Why the loaders of the layout would not do with a plain tensor what its maker meant; empty: they would. `codec`:
/// null for floats.
std::string activation_problem(const Tensor& tensor, const tensor::Model& model, const HfCodec* codec) {
  const bool from_awq = model.layout == "awq" || (model.source && model.source->layout == "awq");
  if (from_awq && tensor.shape.size() == 1 && tensor.name.ends_with(".scales") &&
      (codec == nullptr || !codec->holds_activation_divisors)) {
    return "activations are divided by it (AutoAWQ's ScaledActivation), which no loader of the layout does; awq and "
           "ingot keep it";
  }
  if (codec == nullptr || !codec->is_strict || !is_activation_scale(tensor.name)) return {};
  return "a parameter of activations, with which the layout's loaders refuse the model; --drop leaves such tensors out";
}

bool has_coded(const std::vector<HfItem>& items) {
  return std::any_of(items.begin(), items.end(),
                     [](const HfItem& item) { return item.coded != nullptr || item.form == HfItem::Form::refused; });
}

void require_known_settings(const HfCodec& codec, const WriteOptions& options) {
  for (const auto& [key, value] : options.settings) {
    if (std::find(codec.settings.begin(), codec.settings.end(), key) != codec.settings.end()) continue;
    std::string known;
    for (const std::string_view name : codec.settings) known += (known.empty() ? "" : ", ") + std::string(name);
    throw OptionError("--set " + key + ": layout " + std::string(codec.layout) +
                      (known.empty() ? " has no settings" : " has the settings " + known));
  }
}

}  // namespace

std::uint64_t HfItem::bytes() const {
  if (form == Form::given) return given_bytes.size();
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : file_shape) elements = checked_mul(elements, extent, "tensor size");
  return tensor::dense_bytes(type, elements);
}

std::optional<DType> wanted_hf_type(const std::string& scheme, const HfCodec* codec) {
  if (scheme.empty()) return std::nullopt;
  for (const WrittenType& row : kWrittenTypes)
    if (row.scheme == scheme) return row.type;
  WriteOptions options;
  options.scheme = scheme;
  if (codec != nullptr) {
    (void)scheme_word(options, codec->schemes, codec->layout);
  } else {
    (void)scheme_word(options, {}, "hf");
  }
  return std::nullopt;
}

namespace {

/// `why_plain`: why the first matrix without codes has none.
std::vector<HfItem> plan_items(const tensor::Model& model, const WriteOptions& options, const HfCodec* codec,
                               std::string& why_plain) {
  const std::optional<DType> wanted = wanted_hf_type(options.scheme, codec);
  const bool wrapped = is_wrapped(model);
  WriteOptions settled = options;
  if (codec != nullptr && codec->settle != nullptr) settled.settings.merge(codec->settle(model, options));
  std::vector<HfItem> items;
  for (const Tensor& tensor : model.tensors) {
    if (tensor.derived && !is_hf_buffer(tensor.name, model.config.architecture)) continue;
    const std::string file_name = wrapped ? wrapped_hf_name(tensor.name) : tensor.name;
    std::string why;
    if (codec != nullptr && add_coded_items(tensor, file_name, model, settled, *codec, items, why)) continue;
    const bool is_kept = is_kept_by_user(file_name, options);
    HfItem item = plan_item(tensor, model.config.architecture, is_kept ? std::nullopt : wanted);
    const std::string plain_name = plain_hf_name(tensor.name, model.config.architecture);
    item.file_name = wrapped ? wrapped_hf_name(plain_name) : plain_name;
    if (why.empty() && !is_kept && codec != nullptr && is_hf_conv1d(tensor.name, model.config.architecture))
      why = "a Conv1D, which this layout has in floating point only";
    if (why_plain.empty() && !why.empty()) why_plain = "tensor '" + tensor.name + "': " + why;
    item.why_plain = std::move(why);
    if (std::string problem = activation_problem(tensor, model, codec); !problem.empty()) {
      item.form = HfItem::Form::refused;
      item.reason = std::move(problem);
    }
    items.push_back(std::move(item));
  }
  return items;
}

/// A checkpoint without one coded tensor is not in the layout, and no reader would take it for that.
[[noreturn]] void refuse_without_codes(const tensor::Model& model, const WriteOptions& options, const HfCodec& codec,
                                       std::string why_plain) {
  std::string ways = "--to hf writes its values in floating point";
  if (options.allow < ProofClass::codes) {
    WriteOptions with_codes = options;
    with_codes.allow = ProofClass::codes;
    std::string ignored;
    if (has_coded(plan_items(model, with_codes, &codec, ignored)))
      ways = "--allow codes keeps codes and rounds scales or offsets, " + ways;
  }
  if (!codec.schemes.empty() && options.allow < ProofClass::requantized) ways += ", --allow requantize rounds them";
  if (why_plain.empty() && !options.scheme.empty()) why_plain = "--scheme " + options.scheme + " fits no matrix of it";
  throw Error(ErrorKind::unsupported, "layout " + std::string(codec.layout) + " can keep no tensor of this model" +
                                          (why_plain.empty() ? "" : " (" + why_plain + ")") + "; " + ways);
}

}  // namespace

std::vector<HfItem> plan_hf_items(const tensor::Model& model, const WriteOptions& options, const HfCodec* codec) {
  if (codec != nullptr) require_known_settings(*codec, options);
  std::string why_plain;
  std::vector<HfItem> items = plan_items(model, options, codec, why_plain);
  if (codec != nullptr && !has_coded(items)) refuse_without_codes(model, options, *codec, std::move(why_plain));
  return items;
}

bool all_values_fit(const HfItem& item) {
  if (item.form == HfItem::Form::bytes || item.type == DType::f32) return true;
  if (item.tensor.scheme.is_plain() && item.tensor.transforms.empty() &&
      type_contains(item.tensor.scheme.codes.type, item.type))
    return true;
  const std::uint64_t elements = item.tensor.elements();
  std::atomic<bool> fit{true};
  tensor::ValueReader reader(item.tensor);
  std::vector<std::vector<float>> buffers(static_cast<std::size_t>(thread_count()));
  parallel_for(ceil_div(elements, kPieceElems), 1, [&](std::uint64_t piece_begin, std::uint64_t piece_end, int worker) {
    std::vector<float>& values = buffers[static_cast<std::size_t>(worker)];
    for (std::uint64_t piece = piece_begin; piece < piece_end && fit.load(std::memory_order_relaxed); ++piece) {
      const std::uint64_t begin = piece * kPieceElems;
      values.resize(std::min(kPieceElems, elements - begin));
      reader.read(begin, values, worker);
      if (!all_fit(values, item.type)) fit = false;
      reader.done_with(begin, begin + values.size());
    }
  });
  item.tensor.planes->done_with(0, item.tensor.geometry().units);
  return fit;
}

void HfItemWriter::write(const HfItem& item, JournaledRange& file, std::uint64_t offset,
                         const std::function<void(std::uint64_t)>& progress) {
  if (file.is_finished()) return progress(item.bytes());
  std::mutex mutex;
  const auto advance = [&](std::uint64_t bytes) {
    const std::scoped_lock lock(mutex);
    progress(bytes);
  };
  switch (item.form) {
    case HfItem::Form::bytes: write_bytes(item, file, offset, advance); break;
    case HfItem::Form::values: write_values(item, file, offset, advance); break;
    case HfItem::Form::transposed: write_transposed(item, file, offset, advance); break;
    case HfItem::Form::given: return write_given(item, file, offset, advance);
    case HfItem::Form::packed:
      if (goes_in_bands(item.coded->tensor, *codec_)) {
        viewed_plan_ = nullptr;  // its planes lay in the buffers
        return write_bands(item, *codec_, buffers_, file, offset, advance);
      }
      if (viewed_plan_ != item.coded) viewed_ = with_views(item.coded->tensor, buffers_);
      viewed_plan_ = item.coded;
      return write_packed(item.part, item.bytes(), viewed_, *codec_, file, offset, advance);
    case HfItem::Form::refused:
      throw Error(ErrorKind::unsupported, "tensor '" + item.tensor.name + "': " + item.reason);
  }
  item.tensor.planes->done_with(0, item.tensor.geometry().units);
}

}  // namespace ingot::convert
