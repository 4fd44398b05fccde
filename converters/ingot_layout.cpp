// The `ingot` row: format/container seen as a layout. Every scheme is kept as it is, so every forecast is exact.
#include <array>
#include <fstream>

#include "converters/layout_rows.h"
#include "converters/option_error.h"
#include "format/container/container.h"
#include "format/container/limits.h"
#include "format/tensor/scheme.h"

namespace ingot::convert {
namespace {

bool detect(const std::filesystem::path& path) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) return false;
  std::array<char, 16> first{};
  std::ifstream file(path, std::ios::binary);
  file.read(first.data(), first.size());
  return container::looks_like_ingot(std::as_bytes(std::span(first.data(), static_cast<std::size_t>(file.gcount()))));
}

tensor::Model read(const std::filesystem::path& path, const ReadOptions&) { return container::open(path); }

/// Here, and not by the container, because the source is at fault.
void check_names(const tensor::Model& model) {
  for (const tensor::Tensor& tensor : model.tensors) {
    const std::size_t size = tensor.name.size();
    if (size > 0 && size <= container::kMaxNameBytes) continue;
    constexpr std::size_t kShown = 64;
    throw Error(ErrorKind::limit_exceeded, model.path.string() + ": tensor '" + tensor.name.substr(0, kShown) +
                                               (size > kShown ? "..." : "") + "': bytes of the name: expected 1 to " +
                                               std::to_string(container::kMaxNameBytes) + " in an .ingot, got " +
                                               std::to_string(size));
  }
}

Forecast forecast(const tensor::Model& model, const WriteOptions& options) {
  if (!options.scheme.empty()) {
    throw OptionError("--scheme " + options.scheme +
                      ": an .ingot keeps the schemes of its source; another layout can change them");
  }
  check_names(model);
  Forecast result;
  result.tensors.reserve(model.tensors.size());
  for (const tensor::Tensor& tensor : model.tensors) {
    TensorOutcome outcome;
    outcome.name = tensor.name;
    outcome.source_scheme = outcome.target_scheme = tensor::describe(tensor.scheme);
    outcome.source_bytes = outcome.target_bytes = tensor.stored_bytes();
    result.output_bytes += outcome.target_bytes;
    result.tensors.push_back(std::move(outcome));
  }
  for (const tensor::Attachment& attachment : model.attachments) result.output_bytes += attachment.bytes.size();
  return result;
}

void write(const tensor::Model& model, const std::filesystem::path& path, const WriteOptions& options) {
  container::WriteOptions container_options;
  container_options.compression = options.compress ? container::Compression::zstd : container::Compression::none;
  container_options.sync = options.sync;
  container_options.shard_bytes = options.shard_bytes;
  container_options.progress = options.progress;
  container_options.source_hashes = options.source_hashes;
  container_options.journal = options.journal;
  if (options.part) container_options.takes = [&](std::uint64_t member) { return options.part->takes(member); };
  container::WriteResult result = container::write(model, path, container_options);
  if (options.fingerprints != nullptr && !options.part) *options.fingerprints = std::move(result.fingerprints);
}

void check_bytes(const std::filesystem::path& path) {
  const container::VerifyResult result = container::verify(path, false, {});
  if (result.findings.empty()) return;
  const container::Finding& first = result.findings.front();
  throw Error(first.kind, first.message, first.offset);
}

}  // namespace

const Layout& ingot_layout() noexcept {
  static const Layout row = {
      .name = "ingot",
      .description = "Ingot container: one self-checking file or a set of them, any scheme, restorable to its source",
      .detect = detect,
      .read = read,
      .forecast = forecast,
      .write = write,
      .pack_segment = nullptr,
      .compresses = true,
      .keeps_source = true,
      .carries_column_order = [](const WriteOptions&) noexcept { return true; },
      .check_bytes = check_bytes};
  return row;
}

}  // namespace ingot::convert
