// `convert`: forecast, consent, write into a staging place, proof by an independent read, publication. Knows no layout
// by name.
#include <algorithm>
#include <chrono>

#include "converters/conversion/convert_into.h"
#include "converters/conversion/fold.h"
#include "converters/conversion/journal.h"
#include "converters/conversion/proof.h"
#include "converters/conversion/replacement.h"
#include "converters/conversion/source_removal.h"
#include "converters/conversion/source_witness.h"
#include "converters/conversion/staging.h"
#include "converters/conversion/work_time.h"
#include "converters/option_error.h"
#include "converters/recover/recover.h"
#include "converters/registry.h"
#include "format/base/checked_math.h"

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

/// Nor may it replace files that the input consists of: members of a set, shards.
void refuse_output_over_members(const tensor::Model& model, const std::filesystem::path& output) {
  std::error_code status;
  std::vector<std::filesystem::path> replaced = files_of_model(output);
  replaced.push_back(output);
  const std::vector<std::filesystem::path> weights = weight_files_of(model);
  for (const std::filesystem::path& old : replaced)
    for (const std::filesystem::path& file : weights)
      if (std::filesystem::equivalent(old, file, status))
        throw Error(ErrorKind::invalid_value, old.lexically_normal().string() + ": the output is part of the input");
}

/// Only layouts with codecs have settings, and they check theirs.
void refuse_unknown_settings(const Layout& layout, const WriteOptions& options) {
  if (options.settings.empty() || layout.packs_from_views) return;
  throw OptionError("--set " + options.settings.begin()->first + ": layout " + std::string(layout.name) +
                    " has no settings");
}

/// An adapter has other names than the tensors of a model (spec/adapters.md), and its files go with it only where a
/// layout keeps them.
void refuse_adapter(const tensor::Model& model, const Layout& layout) {
  if (!model.metadata.contains("adapter.type") || layout.keeps_source) return;
  throw Error(ErrorKind::unsupported,
              model.path.string() + ": an adapter is kept as .ingot only; `ingot restore` gives its own files back");
}

/// What a writer is given in place of the model; all may be null.
struct Planned {
  std::shared_ptr<SourceWitness> witness;
  std::shared_ptr<const Rearranged> rearranged;
  std::shared_ptr<const Recovery> recovery;

  [[nodiscard]] const tensor::Model& model_of(const tensor::Model& source) const noexcept {
    return recovery ? recovery->model : rearranged ? rearranged->model : witness ? witness->model() : source;
  }
};

/// A file by itself does not tell which rows and columns moved.
void refuse_removal_of_rearranged(const tensor::Model& model) {
  throw Error(ErrorKind::unsupported,
              model.path.string() +
                  ": rows or columns change places (act-order), which is proven of the whole checkpoint only: not with "
                  "--delete-source-as-read");
}

/// `planned`: filled where the layout or the options ask for it.
Forecast forecast(const tensor::Model& model, const ConvertOptions& options, const std::filesystem::path& output,
                  Planned& planned) {
  const Layout& layout = target_layout(options);
  if (options.write.compress && !layout.compresses) {
    throw OptionError("--compress: layout " + options.to + " has no compression");
  }
  refuse_unknown_settings(layout, options.write);
  refuse_adapter(model, layout);
  WriteOptions write_options = options.write;
  write_options.allow = options.allow;
  planned.rearranged = rearrange(planned.model_of(model), layout, write_options);
  const tensor::Model& arranged = planned.model_of(model);
  if (options.recover) planned.recovery = recover_model(arranged, layout, write_options);
  Forecast result = planned.recovery     ? forecast_recovered(*planned.recovery, arranged, layout, write_options)
                    : planned.rearranged ? planned.rearranged->forecast
                                         : layout.forecast(arranged, write_options);
  estimate_times(planned.model_of(model), options.prove, result);
  if (options.delete_source) require_removable(model, options);
  if (options.delete_source && planned.rearranged) refuse_removal_of_rearranged(model);
  result.peak_memory_bytes = estimated_memory(planned.model_of(model), layout, result, output);
  return result;
}

/// Layouts that keep the source take its values themselves; files of it that go while it is converted are proven then;
/// what stays in its layout may be moved as it is by a writer that knows the planes of its own reader.
bool watches_source(const tensor::Model& model, const ConvertOptions& options) {
  return options.prove && !options.write.part && !options.delete_source && options.to != model.layout &&
         !target_layout(options).keeps_source;
}

/// Files that belong to the model that --force replaces, whatever the new one is made of.
std::vector<std::filesystem::path> obsolete_files(const std::filesystem::path& output) {
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& file : files_of_model(output))
    for (const Layout& layout : layouts())
      if (!layout.is_directory && layout.detect(file)) files.push_back(file);
  return files;
}

/// Before hours of work end on a full disk. What an earlier process wrote is there already.
void check_space(const ConversionReport& report, const ConvertOptions& options, const Staging& staging,
                 const std::filesystem::path& output) {
  if (!options.check_space) return;
  const std::uint64_t parts = options.write.part ? options.write.part->count : 1;
  const std::uint64_t there = options.write.part ? 0 : staging.bytes_on_disk();  // else of all parts
  const std::uint64_t whole = report.forecast.output_bytes / parts;
  const std::uint64_t needed = std::min(whole - std::min(whole, there), report.disk_bytes);
  const std::uint64_t free = staging.free_bytes();
  if (needed <= free) return;
  throw Error(ErrorKind::io, output.string() + ": too little room on the disk: needed " + std::to_string(needed) +
                                 " bytes, available " + std::to_string(free) +
                                 " (--no-space-check tries nevertheless)");
}

/// Fingerprints of written bytes are worth what the bytes are: of a layout without hashes nothing is believed.
void check_written_bytes(const Layout& layout, const Staging& staging, std::vector<tensor::TakenFingerprint>& taken) {
  const auto is_believed = [](const tensor::TakenFingerprint& one) { return one.of_written_bytes; };
  if (std::none_of(taken.begin(), taken.end(), is_believed)) return;
  if (layout.check_bytes != nullptr) return layout.check_bytes(staging.readable());
  for (tensor::TakenFingerprint& one : taken) one.of_written_bytes = false;
}

/// Writes `model` into the staging place and, unless it is a part, proves it there.
void write_and_prove(const tensor::Model& model, const Layout& layout, const ConvertOptions& options,
                     const Staging& staging, ConversionJournal& journal, ConversionReport& report) {
  Clock::time_point start = Clock::now();
  const tensor::Model& planned = Planned{report.witness, report.rearranged, report.recovery}.model_of(model);
  tensor::Model completed;
  const std::vector<std::shared_ptr<const MappedFile>> unhashed =
      layout.keeps_source ? unhashed_files(planned) : std::vector<std::shared_ptr<const MappedFile>>();
  const bool completes =
      std::any_of(unhashed.begin(), unhashed.end(), [](const auto& file) { return file != nullptr; });
  const bool settles = options.delete_source || has_settled_patches(journal);
  if (completes || settles) {
    completed = planned;
    settles ? settle_patches(completed, journal, find_patches) : find_patches(completed);
  }
  PassingHashes source_hashes(unhashed);
  const tensor::Model& source = completes || settles ? completed : planned;
  TakenValues taken;
  WriteOptions write_options = options.write;
  write_options.allow = options.allow;
  // Else staging.publish() syncs once.
  write_options.sync = options.write.sync && (options.write.part.has_value() || options.delete_source);
  write_options.prepared = report.forecast.prepared;
  write_options.fingerprints = &taken.fingerprints;
  write_options.source_hashes = &source_hashes;
  write_options.journal = &journal;
  std::map<std::string, TensorProof> known = recorded_proofs(journal);
  std::optional<SourceRemoval> removal;
  if (options.delete_source) {
    removal.emplace(source, staging, journal, source_hashes, options.trust_config);
    journal.on_file_end([&](const std::filesystem::path& file) {
      const std::vector<TensorProof> proofs = prove_file(source, layout.read(file, {}), known, options, report);
      for (const TensorProof& proof : proofs) known.emplace(proof.name, proof);
      removal->add_proofs(file, proofs);
    });
  }
  if (options.write.sync) write_options.progress = with_writeback(options.write.progress, staging);
  if (report.witness) report.witness->start(report.forecast);
  layout.write(source, staging.target(), write_options);
  if (report.witness) taken.units = report.witness->finish();
  journal.end_file();
  if (options.write.sync) staging.start_writeback();
  report.write_seconds = seconds_since(start);
  if (!options.prove || options.write.part) return;
  start = Clock::now();
  const tensor::Model written = layout.read(staging.readable(), {});
  if (report.rearranged || report.recovery) taken.fingerprints.clear();  // the proof is about the source
  check_written_bytes(layout, staging, taken.fingerprints);
  prove(model, written, taken, known, options, report);
  report.prove_seconds = seconds_since(start);
}

/// Everything after the consent. `journals` are those of parts.
void run_staged(const tensor::Model& model, const std::filesystem::path& output, const ConvertOptions& options,
                const std::vector<std::filesystem::path>& journals, Staging& staging, ConversionReport& report) {
  const Json identity = identity_of(model, options, report.forecast, staging.removed());
  if (options.write.part && journals.empty())
    for (const auto& [part, path] : staging.part_journals()) require_part_of(path, identity);
  staging.keep();  // the work of another conversion is not thrown away because this one cannot go on with it
  ConversionJournal journal(staging.journal_path(), staging.files(), identity, options.resume);
  try {
    for (const std::filesystem::path& path : journals) journal.add_records_of(path, identity);
    if (journals.empty()) staging.discard();  // parts are work of others
    check_space(report, options, staging, output);
    ConvertOptions whole = options;
    if (!journals.empty()) whole.write.part.reset();
    write_and_prove(model, target_layout(options), whole, staging, journal, report);
    report.written_bytes = staging.bytes();
    report.kept_bytes = journal.kept_bytes();
    report.repeated_files.assign(journal.repeated_files().begin(), journal.repeated_files().end());
    if (whole.write.part) return journal.record_end();
    const Clock::time_point start = Clock::now();
    if (options.overwrite) refuse_to_replace_other_things(model, output);  // what came there meanwhile
    report.files = staging.publish(options.write.sync,
                                   options.overwrite ? obsolete_files(output) : std::vector<std::filesystem::path>());
    if (options.delete_source) remove_rest_of_source(model);
    report.write_seconds += seconds_since(start);
  } catch (const Error& error) {
    std::error_code status;
    const bool has_removed = std::filesystem::exists(staging.removed(), status);
    if ((error.kind == ErrorKind::io && journal.has_records()) || has_removed) staging.keep();
    throw Error(error.kind, staging.with_final_paths(error.what()), error.offset);
  } catch (...) {
    if (journal.has_records()) staging.keep();
    throw;
  }
}

}  // namespace

Forecast forecast(const tensor::Model& model, const ConvertOptions& options, const std::filesystem::path& output) {
  Planned planned;
  return forecast(model, options, output, planned);
}

std::uint64_t needed_disk(const tensor::Model& model, const Forecast& forecast, const ConvertOptions& options) {
  return options.delete_source ? disk_bytes_with_removal(model, forecast, options.write.shard_bytes)
                               : forecast.output_bytes;
}

ConversionReport convert_into(const tensor::Model& model, const std::filesystem::path& output,
                              const ConvertOptions& options, const std::vector<std::filesystem::path>& journals,
                              Staging* staging) {
  ConversionReport report;
  report.dropped = options.dropped;
  report.source_bytes = stored_bytes(model);

  refuse_output_over_input(model, output);  // before all tensors are looked at
  refuse_output_over_members(model, output);
  if (options.overwrite) refuse_to_replace_other_things(model, output);
  if (staging == nullptr) Staging::require_place(output, options.overwrite);
  const Clock::time_point start = Clock::now();
  Planned planned;
  if (watches_source(model, options)) planned.witness = SourceWitness::of(model);
  report.forecast = forecast(model, options, output, planned);
  report.witness = planned.witness;
  report.rearranged = planned.rearranged;
  report.recovery = planned.recovery;
  report.forecast_seconds = seconds_since(start);
  report.disk_bytes = options.delete_source && !is_on_the_same_disk(model.path, output)
                          ? report.forecast.output_bytes
                          : needed_disk(model, report.forecast, options);
  if (options.on_forecast) options.on_forecast(report.forecast);
  require_consent(report.forecast, options.allow);

  ConvertOptions settled = options;
  if (options.write.part && options.write.shard_bytes == 0) {
    settled.write.shard_bytes =
        std::max<std::uint64_t>(1, ceil_div(report.forecast.output_bytes, options.write.part->count));
  }
  if (staging != nullptr) {
    run_staged(model, output, settled, journals, *staging, report);
  } else {
    Staging own(output, {options.overwrite, options.resume, options.write.part});
    run_staged(model, output, settled, journals, own, report);
  }
  report.witness.reset();  // who was needed until the proof
  return report;
}

ConversionReport convert(const tensor::Model& model, const std::filesystem::path& output,
                         const ConvertOptions& options) {
  return convert_into(model, output, options, {}, nullptr);
}

bool is_resumable(const std::filesystem::path& output) { return Staging::has_leftovers(output); }

}  // namespace ingot::convert
