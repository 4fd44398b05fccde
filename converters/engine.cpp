// `convert`: forecast, consent, write into a staging place, proof by an independent read, publication. Knows no layout
// by name.
#include <algorithm>
#include <chrono>

#include "converters/proof.h"
#include "converters/registry.h"
#include "converters/staging.h"
#include "converters/work_time.h"

namespace ingot::convert {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

const Layout& target_layout(const ConvertOptions& options) {
  const Layout* layout = find_layout(options.to);
  if (layout == nullptr) throw Error(ErrorKind::unsupported, "unknown layout '" + options.to + "' (--to)");
  if (layout->write == nullptr)
    throw Error(ErrorKind::unsupported, "layout " + options.to + " can be read, not written");
  return *layout;
}

/// Throws when some tensor is worse than the user allows.
void require_consent(const Forecast& forecast, ProofClass allow) {
  constexpr std::size_t kNamed = 5;
  std::size_t count = 0;
  ProofClass worst = ProofClass::exact;
  std::string names, reason;
  for (const TensorOutcome& outcome : forecast.tensors) {
    if (outcome.forecast <= allow && outcome.forecast != ProofClass::refused) continue;
    if (count++ < kNamed) names += (names.empty() ? "" : ", ") + outcome.name;
    if (outcome.forecast > worst) {
      worst = outcome.forecast;
      reason = outcome.reason;
    }
  }
  if (count == 0) return;
  if (count > kNamed) names += ", and " + std::to_string(count - kNamed) + " more";
  std::string message = worst == ProofClass::refused ? "the target cannot hold " : "not exact without consent: ";
  message += std::to_string(count) + (count == 1 ? " tensor (" : " tensors (") + names + ")";
  if (!reason.empty()) message += ": " + reason;
  if (worst != ProofClass::refused)
    message += "; pass --allow " + std::string(worst == ProofClass::codes ? "codes" : "requantize") + " to accept it";
  throw Error(ErrorKind::mismatch, message);
}

/// The source files whose hashes are not known, in the order of all; null in place of the others.
std::vector<std::shared_ptr<const MappedFile>> unhashed_files(const tensor::Model& model) {
  std::vector<std::shared_ptr<const MappedFile>> files;
  if (!model.source) return files;
  for (const tensor::SourceFile& file : model.source->files) {
    const bool is_known = file.hash != Hash128{};
    if (!is_known && file.content == nullptr)
      throw Error(ErrorKind::unsupported, model.path.string() + ": the hash of " + file.path + " is unknown");
    files.push_back(is_known ? nullptr : file.content);
  }
  return files;
}

void find_patches(tensor::Model& model) {
  const Layout* layout = find_layout(model.source->layout);
  if (layout != nullptr && layout->find_patches != nullptr) layout->find_patches(model);
}

std::uint64_t stored_bytes(const tensor::Model& model) {
  std::uint64_t total = 0;
  for (const tensor::Tensor& tensor : model.tensors) total += tensor.stored_bytes();
  return total;
}

/// Has the disk start on what is written while the rest is still to come: publish() then finds little to wait for.
Progress with_writeback(const Progress& progress, const Staging& staging) {
  constexpr std::uint64_t kStride = std::uint64_t{64} << 20;
  return
      [&progress, &staging, next = kStride](std::string_view phase, std::uint64_t done, std::uint64_t total) mutable {
        if (done >= next) {
          staging.start_writeback();
          next = done + kStride;
        }
        if (progress) progress(phase, done, total);
      };
}

/// --force replaces the output with everything in it, so the input must be neither it nor below it.
void refuse_output_over_input(const tensor::Model& model, const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  std::error_code status;
  if (model.path.empty() || !fs::exists(output, status)) return;
  const fs::path input = fs::canonical(model.path, status);
  if (status) return;
  for (fs::path place = input;; place = place.parent_path()) {
    if (fs::equivalent(place, output, status)) {
      throw Error(ErrorKind::invalid_value,
                  output.string() + (place == input ? ": the output is the input" : ": the output contains the input"));
    }
    if (place == place.root_path()) return;
  }
}

/// --force replaces models, and nothing else that happens to bear the name.
void refuse_to_replace_other_things(const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  std::error_code status;
  const fs::file_status there = fs::status(output, status);
  if (!fs::exists(there)) return;
  if (fs::is_directory(there)) {
    if (fs::is_empty(output, status)) return;
    for (const Layout& layout : layouts())
      if (layout.is_directory && layout.detect(output)) return;
    throw Error(ErrorKind::io,
                output.string() + ": is a directory that holds no checkpoint; --force does not replace it");
  }
  if (!fs::is_regular_file(there)) {
    throw Error(ErrorKind::io, output.string() + ": is no regular file; --force does not replace it");
  }
}

/// Only layouts with codecs have settings, and they check theirs.
void refuse_unknown_settings(const Layout& layout, const WriteOptions& options) {
  if (options.settings.empty() || layout.packs_from_views) return;
  throw Error(ErrorKind::unsupported,
              "--set " + options.settings.begin()->first + ": layout " + std::string(layout.name) + " has no settings");
}

}  // namespace

Forecast forecast(const tensor::Model& model, const ConvertOptions& options) {
  const Layout& layout = target_layout(options);
  if (options.write.compress && !layout.compresses) {
    throw Error(ErrorKind::unsupported, "--compress: layout " + options.to + " has no compression");
  }
  refuse_unknown_settings(layout, options.write);
  WriteOptions write_options = options.write;
  write_options.allow = options.allow;
  Forecast result = layout.forecast(model, write_options);
  estimate_times(model, options.prove, result);
  return result;
}

namespace {

/// Writes `model` into the staging place and proves it there.
void write_and_prove(const tensor::Model& model, const Layout& layout, const ConvertOptions& options,
                     const Staging& staging, ConversionReport& report) {
  Clock::time_point start = Clock::now();
  tensor::Model completed;
  const std::vector<std::shared_ptr<const MappedFile>> unhashed =
      layout.keeps_source ? unhashed_files(model) : std::vector<std::shared_ptr<const MappedFile>>();
  const bool completes =
      std::any_of(unhashed.begin(), unhashed.end(), [](const auto& file) { return file != nullptr; });
  if (completes) {
    completed = model;
    find_patches(completed);
  }
  PassingHashes source_hashes(unhashed);
  const tensor::Model& source = completes ? completed : model;
  std::vector<Hash128> source_fingerprints;
  WriteOptions write_options = options.write;
  write_options.allow = options.allow;
  write_options.sync = false;  // staging.publish() syncs once, after the proof
  write_options.fingerprints = &source_fingerprints;
  write_options.source_hashes = &source_hashes;
  if (options.write.sync) write_options.progress = with_writeback(options.write.progress, staging);
  layout.write(source, staging.target(), write_options);
  if (options.write.sync) staging.start_writeback();
  report.write_seconds = seconds_since(start);
  if (!options.prove) return;
  start = Clock::now();
  const tensor::Model written = layout.read(staging.readable(), {});
  prove(source, written, source_fingerprints, options, report);
  report.prove_seconds = seconds_since(start);
}

}  // namespace

ConversionReport convert(const tensor::Model& model, const std::filesystem::path& output,
                         const ConvertOptions& options) {
  const Layout& layout = target_layout(options);
  ConversionReport report;
  report.source_bytes = stored_bytes(model);

  Clock::time_point start = Clock::now();
  report.forecast = forecast(model, options);
  report.forecast_seconds = seconds_since(start);
  if (options.on_forecast) options.on_forecast(report.forecast);
  require_consent(report.forecast, options.allow);

  refuse_output_over_input(model, output);
  if (options.overwrite) refuse_to_replace_other_things(output);
  Staging staging(output, options.overwrite);
  try {
    write_and_prove(model, layout, options, staging, report);
  } catch (const Error& error) {
    throw Error(error.kind, staging.with_final_paths(error.what()), error.offset);
  }
  report.written_bytes = staging.bytes();
  start = Clock::now();
  staging.publish(options.write.sync);
  report.write_seconds += seconds_since(start);
  return report;
}

}  // namespace ingot::convert
