// Fuzz target: any JSON files and tensors as a checkpoint directory give an Error or a model whose tensors decode,
// whose planes can be read, and whose parts can be packed again. INGOT_FUZZ_LAYOUT names the layout to read it as;
// without it the layout is detected.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <map>

#include "checkpoint_input.h"
#include "converters/files/safetensors.h"
#include "converters/registry.h"
#include "format/tensor/fingerprint.h"
#include "fuzz_directory.h"

namespace {

using ingot::fuzz::parted;

constexpr std::uint64_t kMaxFileBytes = 1 << 20;
constexpr std::array<std::string_view, 5> kNames = {"config.json", "quantize_config.json", "quant_config.json",
                                                    "hf_quant_config.json", "adapter_config.json"};

struct Table {
  std::vector<ingot::convert::SafetensorsItem> items;
  std::map<std::string, std::string> metadata;
};

Table read_table(std::string_view text) {
  Table table;
  for (const std::string_view line : parted(text, '\n')) {
    const std::vector<std::string_view> fields = parted(line, '\t');
    if (fields.size() >= 2 && fields[0].starts_with('@')) {
      table.metadata.emplace(fields[0].substr(1), fields[1]);
      continue;
    }
    const auto* type = fields.size() >= 2 ? ingot::convert::find_safetensors_type(fields[1]) : nullptr;
    if (type == nullptr) continue;
    ingot::convert::SafetensorsItem item{std::string(fields[0]), type->type, {}};
    for (const std::string_view extent : parted(fields.size() > 2 ? fields[2] : "", ',')) {
      item.shape.push_back(0);
      std::from_chars(extent.data(), extent.data() + extent.size(), item.shape.back());
    }
    table.items.push_back(std::move(item));
  }
  return table;
}

/// A well-formed safetensors file of the table; throws Error where there is none, or none that is small.
std::string safetensors_file(const Table& table, std::string_view data) {
  const ingot::convert::SafetensorsPlan plan = ingot::convert::plan_safetensors(table.items, table.metadata);
  if (plan.file_bytes > kMaxFileBytes) throw ingot::Error(ingot::ErrorKind::limit_exceeded, "large input");
  std::string file(plan.file_bytes, '\0');
  std::copy(plan.header.begin(), plan.header.end(), file.begin());
  std::vector<std::uint64_t> ends(plan.order.size());
  for (std::size_t i = 0; i < plan.order.size(); ++i)
    ends[plan.order[i]] = i + 1 < plan.order.size() ? plan.begin[plan.order[i + 1]] : plan.file_bytes;
  std::size_t used = 0;
  for (std::size_t i = 0; i < ends.size() && !data.empty(); ++i)
    for (std::uint64_t at = plan.begin[i]; at < ends[i]; ++at) file[at] = data[used++ % data.size()];
  return file;
}

void read_planes(const ingot::tensor::Tensor& tensor) {
  const std::vector<ingot::tensor::PlaneSpec> specs = tensor.plane_specs();
  const std::uint64_t units = tensor.geometry().units;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (const std::optional<ingot::Bytes> view = tensor.planes->view(i)) (void)ingot::hash128(*view);
    if (!specs[i].sliced) (void)ingot::hash128(tensor.planes->whole(i));
  }
  // 2^31 rows without a column are as many empty units.
  if (std::all_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.unit_bytes == 0; })) return;
  for (std::uint64_t unit = 0; unit < units; ++unit) {
    std::vector<std::vector<std::byte>> bytes(specs.size());
    std::vector<std::byte*> out(specs.size(), nullptr);
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (!specs[i].sliced) continue;
      bytes[i].resize(specs[i].unit_bytes);
      out[i] = bytes[i].data();
    }
    tensor.planes->read_units(unit, unit + 1, out);
  }
}

/// Everything that later work does with a model, short of writing files.
void use(ingot::tensor::Model model, const ingot::convert::Layout& layout) {
  for (const ingot::tensor::Tensor& tensor : model.tensors) {
    read_planes(tensor);
    (void)ingot::tensor::fingerprint(tensor);
  }
  if (layout.find_patches != nullptr) layout.find_patches(model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ingot::fuzz::Directory directory("checkpoint");
  static const char* const forced = std::getenv("INGOT_FUZZ_LAYOUT");
  const ingot::fuzz::Sections input = ingot::fuzz::split_input(std::as_bytes(std::span(data, size)));
  directory.clear();
  bool adapter = false;
  for (const std::string_view file : parted(input.files, '\1')) {
    const std::string_view name = file.substr(0, file.find('\n'));
    if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) continue;
    directory.write(name, file.substr(std::min(file.size(), name.size() + 1)));
    adapter |= name == kNames.back();
  }
  try {
    directory.write(adapter ? "adapter_model.safetensors" : "model.safetensors",
                    safetensors_file(read_table(input.table), input.data));
    const ingot::convert::Layout& layout =
        forced != nullptr ? *ingot::convert::find_layout(forced) : ingot::convert::detect_layout(directory.path());
    use(layout.read(directory.path(), {}), layout);
  } catch (const ingot::Error&) {
  }
  return 0;
}
