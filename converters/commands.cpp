#include "converters/commands.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>
#include <memory>

#include "converters/dropped_tensors.h"
#include "converters/hf_names.h"
#include "converters/option_error.h"
#include "converters/recode/scheme_choice.h"
#include "converters/recover/recover.h"
#include "converters/registry.h"
#include "format/base/output_file.h"
#include "format/base/utf8.h"
#include "format/container/limits.h"
#include "inspect/conversion_text.h"

namespace ingot::convert {
namespace {

/// `writable`: those that can be written are listed; the others are refused by the engine, which says why.
CLI::Validator known_layout(bool writable) {
  std::vector<std::string> names;
  std::string listed;
  for (const Layout& layout : layouts()) {
    names.emplace_back(layout.name);
    if (!writable || layout.write != nullptr) listed.append(listed.empty() ? "{" : ",").append(layout.name);
  }
  listed += "}";
  const auto fault = [names, listed](const std::string& name) {
    return std::ranges::find(names, name) != names.end() ? std::string() : name + " not in " + listed;
  };
  return CLI::Validator(fault, listed);
}

/// "2GB", "500 MB", "1.5GiB", "4096".
std::uint64_t parse_size(const std::string& text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"", 1},
                             {"B", 1},
                             {"K", 1e3},
                             {"KB", 1e3},
                             {"M", 1e6},
                             {"MB", 1e6},
                             {"G", 1e9},
                             {"GB", 1e9},
                             {"T", 1e12},
                             {"TB", 1e12},
                             {"KIB", 1024.0},
                             {"MIB", 1048576.0},
                             {"GIB", 1073741824.0},
                             {"TIB", 1099511627776.0}};
  std::size_t used = 0;
  double number = -1;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string unit = CLI::detail::trim_copy(text.substr(used));
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const Unit& candidate : kUnits) {
    const double bytes = number * candidate.bytes;
    if (unit == candidate.name && used > 0 && bytes >= 1 && bytes < 9e15)
      return static_cast<std::uint64_t>(std::llround(bytes));
  }
  throw CLI::ValidationError("--shard-size: '" + text + "' is no size (try 2GB, 500MB, 1GiB)");
}

void add_setting(const std::string& pair, std::map<std::string, std::string>& settings) {
  const std::size_t equals = pair.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw CLI::ValidationError("--set: '" + pair + "' is not of the form KEY=VALUE");
  settings[pair.substr(0, equals)] = pair.substr(equals + 1);
}

// --- convert -------------------------------------------------------------------------------------------------------
struct ConvertCommand {
  std::string model, output, report, allow;
  bool dry_run = false, no_proof = false, no_sync = false, trust_config = false;
  ConvertOptions options;
};

ProofClass allowed_class(const std::string& name_text) {
  for (const ProofClass value : {ProofClass::codes, ProofClass::requantized})
    if (name_text == name(value) || (value == ProofClass::requantized && name_text == "requantize")) return value;
  return ProofClass::exact;
}

/// "2/4".
Part parse_part(const std::string& text) {
  Part part;
  int used = 0;
  if (std::sscanf(text.c_str(), "%lu/%lu%n", &part.number, &part.count, &used) != 2 ||
      static_cast<std::size_t>(used) != text.size() || part.number < 1 || part.number > part.count)
    throw CLI::ValidationError("--part: '" + text + "' is no part (try 1/4)");
  if (part.count > container::kMaxMembers) {
    throw CLI::ValidationError("--part: a set has at most " + inspect::with_separators(container::kMaxMembers) +
                               " parts, got '" + text + "'");
  }
  return part;
}

/// Runs `work`; when it fails and leaves something that `resume` did not refuse to continue, says so.
template <class Work>
void with_resume_hint(const std::string& output, bool resume, Console& console, const Work& work) {
  const auto hint = [&] {
    console.end_progress();
    if (!output.empty() && is_resumable(output))
      console.note("What is finished of " + inspect::printable(output) + " is kept: --resume goes on with it.");
  };
  try {
    work();
  } catch (const Error& error) {
    if (!resume || error.kind != ErrorKind::mismatch) hint();
    throw;
  } catch (...) {
    hint();
    throw;
  }
}

/// "OUT", or "OUT-00001-of-00003.gguf .. OUT-00003-of-00003.gguf" where nothing bears the name itself.
std::string written_names(const ConversionReport& report, const std::filesystem::path& output) {
  const std::filesystem::path named = output.has_filename() ? output : output.parent_path();
  if (report.files.empty() || report.files.front().filename() == named.filename()) return output.string();
  if (report.files.size() == 1) return report.files.front().string();
  return report.files.front().string() + " .. " + report.files.back().string();
}

void print_report(const ConversionReport& report, const std::string& output, const std::string& report_file,
                  Console& console) {
  console.end_progress();
  const Json document = inspect::report_json(report);
  if (console.json()) {  // first: the output is there, whatever becomes of the file
    console.print_json(document);
  } else {
    console.print("\n" + inspect::proof_text(report, console.style()));
    console.print("-> " + inspect::printable(written_names(report, output)) + "\n");
  }
  if (!report_file.empty()) write_file_atomically(report_file, as_bytes_view(pretty_json(document)));
}

/// What --recover did beside what the forecast shows.
void note_recovery(const ConversionReport& report, const tensor::Model& model, const ConvertOptions& options,
                   Console& console) {
  if (!report.recovery) return;
  console.end_progress();
  if (report.recovery->tensors.empty()) return console.note("--recover: no tensor was written as codes");
  if (model.source && find_layout(options.to)->keeps_source && !report.recovery->model.source)
    console.note(
        "--recover: the codes of the output do not give the files of the source back: no recipe to restore them");
}

/// A pattern that no tensor bears is mostly a typing error.
void note_unmatched(const tensor::Model& model, const WriteOptions& options, Console& console) {
  const auto look = [&](const char* name, const std::string& pattern, const auto& matches) {
    const auto has = [&](const tensor::Tensor& tensor) {
      return matches(tensor.name, options) || matches(wrapped_hf_name(tensor.name), options);
    };
    if (pattern.empty() || std::any_of(model.tensors.begin(), model.tensors.end(), has)) return;
    console.note(std::string(name) + " '" + inspect::printable(pattern) + "': no tensor has such a name");
  };
  look("--keep", options.keep, is_kept_by_user);
  look("--quantize", options.quantize, is_quantized_by_user);
}

/// What `restore` will not give back.
void note_left_out(const tensor::Model& model, const ConvertOptions& options, Console& console) {
  const auto left_out = model.metadata.find("source.not_restorable");
  const Layout* const target = find_layout(options.to);
  if (left_out == model.metadata.end() || target == nullptr || !target->keeps_source) return;
  constexpr std::size_t kLongest = 200;
  std::string names = left_out->second;
  while (names.ends_with('\n')) names.pop_back();
  for (std::size_t at = 0; (at = names.find('\n', at)) != std::string::npos; at += 2) names.replace(at, 1, ", ");
  console.note("not in the .ingot, and not restored: " +
               inspect::elide(inspect::printable(names), kLongest, inspect::Elide::end));
}

/// Other files of a directory go along; a second form of the weights among them is seldom wanted and as large as these.
void note_large_companions(const tensor::Model& model, const ConvertOptions& options, Console& console) {
  constexpr std::uint64_t kLargeBytes = std::uint64_t{64} << 20;
  constexpr std::string_view kPrefix = "hf/";
  const Layout* layout = find_layout(options.to);
  if (layout == nullptr || (!layout->keeps_source && !layout->is_directory)) return;
  for (const tensor::Attachment& file : model.attachments)
    if (file.name.starts_with(kPrefix) && file.bytes.size() >= kLargeBytes)
      console.note("goes along: " + inspect::printable(file.name.substr(kPrefix.size())) + ", " +
                   inspect::human_bytes(file.bytes.size()) + " beside the weights");
}

void note_dropped(const ConvertOptions& options, Console& console) {
  if (options.drop.empty()) return;
  const std::string option = "--drop '" + inspect::printable(options.drop) + "': ";
  if (options.dropped.empty()) return console.note(option + "no tensor has such a name");
  const std::size_t more = options.dropped.size() - 1;
  console.note(option + inspect::printable(options.dropped.front()) +
               (more == 0 ? std::string(" is") : " and " + std::to_string(more) + " more are") + " left out");
}

/// Is it what --report wrote once?
bool is_report(const std::filesystem::path& path) {
  constexpr std::size_t kEnoughBytes = 64;
  std::string begin(kEnoughBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<std::size_t>(file.gcount()));
  std::erase_if(begin, [](char c) { return c == ' ' || c == '\n'; });
  return begin.starts_with("{\"forecast\":");
}

/// Before hours of work end without it, or it replaces the output, a file of the source, or anything else.
void require_place_of_report(const std::string& report, const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  if (report.empty()) return;
  const fs::path place = fs::absolute(report).parent_path();
  const auto refuse = [&](const std::string& why) { throw Error(ErrorKind::io, "--report " + report + why); };
  std::error_code status;
  if (!fs::is_directory(place, status)) refuse(": there is no directory " + place.string());
  const fs::path whole = fs::weakly_canonical(fs::absolute(output / ""), status).parent_path();
  const fs::path canonical_place = fs::weakly_canonical(place, status);
  if (canonical_place / fs::path(report).filename() == whole) refuse(": is the output");
  for (fs::path above = canonical_place; above != above.root_path(); above = above.parent_path())
    if (above == whole) refuse(": lies in the output");
  if (fs::is_directory(report, status)) refuse(": is a directory");
  if (fs::is_regular_file(report, status) && fs::file_size(report, status) > 0 && !is_report(report))
    refuse(": exists and is no report of a conversion; it is not replaced");
}

void print_forecast(const tensor::Model& model, const ConvertCommand& command, Console& console) {
  const ConvertOptions& options = command.options;
  const Forecast result = forecast(model, options, command.output);
  console.note_findings(result.findings);
  const std::uint64_t disk_bytes = needed_disk(model, result, options);
  if (console.json()) return console.print_json(inspect::forecast_json(result, disk_bytes, options.dropped));
  const std::optional<Part>& part = options.write.part;
  const std::string whole = part ? "All " + inspect::plural(part->count, "part") + " together. " : std::string();
  console.print(inspect::forecast_text(result, console.style()) + whole + inspect::needs_text(result, disk_bytes));
}

void run_convert(ConvertCommand& command, Console& console) {
  if (!command.dry_run) require_place_of_report(command.report, command.output);
  ConvertOptions& options = command.options;
  options.trust_config = command.trust_config;
  options.prove = !command.no_proof;
  options.write.sync = !command.no_sync;
  options.allow = allowed_class(command.allow);
  options.write.progress = console.progress();
  const ReadOptions read_options{options.write.progress, command.trust_config};
  tensor::Model model;
  with_resume_hint(command.output, options.resume, console, [&] {  // a shard may be missing that was converted already
    model = options.resume ? read_remaining_model(command.model, command.output, options.from, read_options)
                           : read_model(command.model, options.from, read_options);
  });
  console.note_findings(model.findings);
  drop_tensors(model, options);
  note_dropped(options, console);
  note_unmatched(model, options.write, console);
  note_large_companions(model, options, console);
  note_left_out(model, options, console);
  if (options.resume && !options.write.part && !is_resumable(command.output))
    console.note("--resume: nothing of " + inspect::printable(command.output) + " is there to go on with");
  if (command.dry_run) return print_forecast(model, command, console);
  if (!console.json())
    options.on_forecast = [&](const Forecast& result) {
      console.note_findings(result.findings);
      console.print(inspect::forecast_text(result, console.style()));
    };
  with_resume_hint(command.output, options.resume, console, [&] {
    const ConversionReport report = convert(model, command.output, options);
    note_recovery(report, model, options, console);
    if (!options.write.part) return print_report(report, command.output, command.report, console);
    console.end_progress();
    if (console.json()) return console.print_json(inspect::report_json(report));
    console.print("Part " + std::to_string(options.write.part->number) + " of " +
                  std::to_string(options.write.part->count) + " is written; when all are, `ingot join " +
                  inspect::printable(command.output) + "` makes them whole\n");
  });
}

void add_convert(CLI::App& app, Console& console) {
  const auto command = std::make_shared<ConvertCommand>();
  ConvertOptions& options = command->options;
  CLI::App* verb = app.add_subcommand("convert", "Convert between layouts, with a forecast before and a proof after");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  CLI::Option* output =
      verb->add_option("-o,--output", command->output, "File or directory to write; not needed with --dry-run")
          ->type_name("OUT");
  verb->add_option("--to", options.to, "Target layout")->required()->check(known_layout(true))->type_name("LAYOUT");
  add_from_option(*verb, options.from);
  verb->add_option(
          "--scheme", options.write.scheme,
          "What weights become: f32, bf16, f16; gguf: q8_0, q4_0, ...; 4bit-g128, nf4, fp8, ... (default: keep)")
      ->transform(CLI::ignore_case)
      ->check([](const std::string& word) { return word.empty() ? "the name is empty" : ""; })
      ->type_name("S");
  verb->add_option("--keep", options.write.keep, "Tensors with such names are neither quantized nor cast")
      ->type_name("REGEX");
  verb->add_option("--quantize", options.write.quantize,
                   "Tensors with such names are quantized, also those that are customarily left alone")
      ->type_name("REGEX");
  verb->add_option("--drop", options.drop,
                   "Tensors with such names are left out, e.g. 'input_scale$' where the target has no place for them")
      ->type_name("REGEX");
  verb->add_flag("--compress", options.write.compress, "Compress with zstd, losslessly (only --to ingot)");
  verb->add_option("--allow", command->allow, "Accept less than exact: codes (rounded offsets) or requantize (lossy)")
      ->check(CLI::IsMember({"codes", "requantize"}))
      ->type_name("CLASS");
  CLI::Option* dry_run = verb->add_flag("--dry-run", command->dry_run, "Print the forecast, write nothing");
  verb->add_flag("--no-proof", command->no_proof, "Do not read the result back");
  verb->add_flag("--no-sync", command->no_sync,
                 "Do not wait until the disk has it: faster, not safe against a power cut");
  verb->add_option_function<std::string>(
          "--shard-size", [&options](const std::string& text) { options.write.shard_bytes = parse_size(text); },
          "Split the output into files of at most this size, e.g. 2GB; of an .ingot, OUT lists them")
      ->type_name("SIZE");
  verb->add_option_function<std::vector<std::string>>(
          "--set",
          [&options](const std::vector<std::string>& pairs) {
            for (const std::string& pair : pairs) add_setting(pair, options.write.settings);
          },
          "Choose between forms of the target layout, e.g. checkpoint_format=gptq_v2; may be repeated")
      ->type_name("KEY=VALUE");
  verb->add_flag("--recover", options.recover,
                 "Write floats that lie on a quantization grid (dequantized GPTQ, NF4, ...) as codes again");
  verb->add_flag("--trust-config", command->trust_config,
                 "Believe the metadata of the source where its data speaks against it");
  verb->add_option("--report", command->report, "Also write the proof as JSON into this file")->type_name("FILE");
  verb->add_flag("--force", options.overwrite,
                 "Replace OUT if it exists: a file, or a directory with nothing but a checkpoint");
  verb->add_flag("--resume", options.resume, "Go on with what an interrupted conversion into OUT has finished");
  verb->add_option_function<std::string>(
          "--part", [&options](const std::string& text) { options.write.part = parse_part(text); },
          "Write only part I of N, e.g. 2/4, on any machine that sees OUT; 'ingot join OUT' ends it")
      ->type_name("I/N");
  CLI::Option* removal =
      verb->add_flag("--delete-source-as-read", options.delete_source,
                     "Remove each file of the source when its tensors are in proven files of OUT (only --to ingot)");
  for (const char* other : {"--no-proof", "--no-sync", "--part", "--recover"}) removal->excludes(other);
  verb->add_flag(
      "--no-space-check", [&options](std::int64_t) { options.check_space = false; },
      "Begin although the disk has too little room");
  console.add_common_options(*verb);
  verb->footer(
      "Every tensor gets a proof class: exact (every value identical), codes (codes identical, offsets\n"
      "rounded), requantized (lossy). Anything but exact needs --allow. Consent does not make a tensor\n"
      "lossy: a quantized form that holds its values exactly wins over a smaller one that does not,\n"
      "unless --scheme names another. Nothing appears under the name OUT before the proof has passed.\n"
      "What a killed conversion has finished stays in the hidden directory .OUT.partial: --resume checks\n"
      "it by its hashes and goes on, without it the work starts anew.\n\n"
      "--delete-source-as-read removes each file of a checkpoint of several files as soon as all of its\n"
      "tensors are in files of OUT that are on the disk and proven (--shard-size makes them small); config\n"
      "and tokenizer go last, when OUT has its name. At any moment --resume goes on without a loss.\n\n"
      "Words of --scheme, for the layouts that know them; -gN, -row, -tensor, -block say what shares a\n"
      "scale, -sym and -asym the zero point (e.g. 4bit-g64-asym); codes that are such already are kept:\n"
      "  gguf                f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 mxfp4; any type for codes that fit it\n"
      "  gptq                2bit 3bit 4bit 8bit (usually 4bit-g128-sym)\n"
      "  awq                 4bit (usually 4bit-g128-asym)\n"
      "  mlx                 2bit 3bit 4bit 5bit 6bit 8bit mxfp4 mxfp8 nvfp4 (usually 4bit-g64)\n"
      "  bnb                 nf4 fp4 int8, nf4-dq fp4-dq: double quantization (usually nf4-g64)\n"
      "  compressed-tensors  2bit to 8bit w4a16 w4a16_asym w8a16 int8 fp8 mxfp4 mxfp8 nvfp4 (usually w4a16)\n"
      "  fp8                 fp8 (usually fp8-block, fp8-row where 128 does not divide both extents)\n\n"
      "Examples:\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot\n"
      "  ingot convert model.ingot -o model.gguf --to gguf\n"
      "  ingot convert model.gguf -o checkpoint/ --to hf --shard-size 2GB\n"
      "  ingot convert model.ingot -o small.gguf --to gguf --scheme q8_0 --allow requantize\n"
      "  ingot convert checkpoint/ -o small/ --to gptq --scheme 4bit-g64 --allow requantize\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot --shard-size 2GB\n"
      "  ingot convert dequantized/ -o model.ingot --to ingot --recover\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot --resume\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot --shard-size 4GB --delete-source-as-read\n"
      "  ingot convert model.ingot --to gguf --dry-run");
  verb->callback([command, output, dry_run, &console] {
    if (output->count() == 0 && dry_run->count() == 0) throw CLI::RequiredError("-o OUT (or --dry-run)");
    Console::catch_interrupts();
    try {
      run_convert(*command, console);
    } catch (const OptionError& error) {
      console.end_progress();
      throw CLI::ValidationError(error.what());
    }
  });
}

// --- join ----------------------------------------------------------------------------------------------------------
struct JoinCommand {
  std::string output, report;
  bool no_proof = false, no_sync = false;
  ConvertOptions options;
};

void add_join(CLI::App& app, Console& console) {
  const auto command = std::make_shared<JoinCommand>();
  CLI::App* verb = app.add_subcommand("join", "Make the parts of 'convert --part' whole");
  verb->add_option("OUT", command->output, "The output of the parts, as they were told it")->required();
  verb->add_flag("--no-proof", command->no_proof, "Do not read the result back");
  verb->add_flag("--no-sync", command->no_sync,
                 "Do not wait until the disk has it: faster, not safe against a power cut");
  verb->add_option("--report", command->report, "Also write the proof as JSON into this file")->type_name("FILE");
  verb->add_flag("--force", command->options.overwrite,
                 "Replace OUT if it exists: a file, or a directory with nothing but a checkpoint");
  console.add_common_options(*verb);
  verb->footer(
      "The parts must be there, finished, and of one source and one set of options, and the source too:\n"
      "what the parts wrote is checked by its hashes, and made again where it is damaged. Manifest, index\n"
      "and tokenizer files are added; the result is proven and gets its name. It is byte for byte that of\n"
      "one conversion with the same --shard-size.\n\n"
      "Examples:\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot --shard-size 2GB --part 1/2\n"
      "  ingot convert checkpoint/ -o model.ingot --to ingot --shard-size 2GB --part 2/2\n"
      "  ingot join model.ingot");
  verb->callback([command, &console] {
    Console::catch_interrupts();
    require_place_of_report(command->report, command->output);
    command->options.prove = !command->no_proof;
    command->options.write.sync = !command->no_sync;
    command->options.write.progress = console.progress();
    print_report(join(command->output, command->options), command->output, command->report, console);
  });
}

}  // namespace

void add_from_option(CLI::App& command, std::string& from, const std::string& whose) {
  command.add_option("--from", from, "Layout of " + whose + ", instead of detecting it")
      ->check(known_layout(false))
      ->type_name("LAYOUT");
}

void add_commands(CLI::App& app, Console& console) {
  add_convert(app, console);
  add_join(app, console);
  add_restore_command(app, console);
}

}  // namespace ingot::convert
