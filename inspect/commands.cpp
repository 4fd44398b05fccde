#include "inspect/commands.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/container/container.h"
#include "format/tensor/fingerprint.h"
#include "inspect/model_diff.h"
#include "inspect/overview.h"
#include "inspect/tensor_detail.h"
#include "inspect/verify_text.h"

namespace ingot::inspect {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// --- inspect -------------------------------------------------------------------------------------------------------
struct InspectOptions {
  std::string model, from, tensor;
  bool all = false, fingerprint = false;
};

/// The fingerprint of every tensor, computed from the values.
std::vector<Hash128> compute_fingerprints(const tensor::Model& model, Console& console) {
  const Progress progress = console.progress();
  std::uint64_t total = 0, done = 0;
  for (const tensor::Tensor& tensor : model.tensors) total += tensor.stored_bytes();
  std::vector<Hash128> fingerprints;
  for (const tensor::Tensor& tensor : model.tensors) {
    fingerprints.push_back(tensor::fingerprint(tensor));
    tensor.planes->done_with(0, tensor.geometry().units);
    progress("fingerprints", done += tensor.stored_bytes(), total);
  }
  console.end_progress();
  return fingerprints;
}

void inspect_tensor(const tensor::Model& model, const InspectOptions& options, Console& console) {
  const tensor::Tensor* tensor = model.find(options.tensor);
  if (tensor == nullptr)
    throw Error(ErrorKind::invalid_value, options.model + ": has no tensor '" + options.tensor +
                                              "' (--all lists the names, the same in all layouts)");
  tensor::Tensor shown = *tensor;
  if (options.fingerprint) shown.fingerprint = tensor::fingerprint(shown);
  const TensorDetail detail = tensor_detail(shown);
  if (console.json()) {
    console.print_json(tensor_detail_json(detail));
  } else {
    console.print(tensor_detail_text(detail, console.style()));
  }
}

void run_inspect(const InspectOptions& options, Console& console) {
  OverviewFacts facts;
  facts.layout = options.from.empty() ? std::string(convert::detect_layout(options.model).name) : options.from;
  tensor::Model model = convert::read_model(options.model, facts.layout);
  if (!options.tensor.empty()) {
    console.note_findings(model.findings);
    return inspect_tensor(model, options, console);
  }
  if (facts.layout == "ingot") facts.file = container::facts(options.model);
  facts.fingerprint = recorded_fingerprint(model);
  if (options.fingerprint) {
    const std::vector<Hash128> fingerprints = compute_fingerprints(model, console);
    for (std::size_t i = 0; i < fingerprints.size(); ++i) model.tensors[i].fingerprint = fingerprints[i];
    facts.fingerprint = tensor::model_fingerprint(model, fingerprints);
  }
  if (console.json()) {
    console.print_json(overview_json(model, facts));
  } else {
    console.print(overview_text(model, facts, !options.all, console.style()));
  }
}

void add_inspect(CLI::App& app, Console& console) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show what is in a model: tensors, schemes, sizes, settings");
  command->add_option("MODEL", options->model, "File or directory in any layout")->required();
  command->add_flag("--all", options->all, "One line for every tensor instead of folding repeated layers");
  command->add_option("--tensor", options->tensor, "Look at one tensor: planes, scales, zero points, first values")
      ->check([](const std::string& name) { return name.empty() ? "the name is empty" : ""; })
      ->type_name("NAME");
  command->add_flag("--fingerprint", options->fingerprint, "Compute fingerprints of the values (reads everything)");
  convert::add_from_option(*command, options->from);
  console.add_common_options(*command);
  command->footer(
      "Examples:\n"
      "  ingot inspect model.ingot\n"
      "  ingot inspect model.gguf --all\n"
      "  ingot inspect checkpoint/ --tensor model.layers.0.self_attn.q_proj.weight\n"
      "  ingot inspect model.ingot --json | jq '.totals'");
  command->callback([options, &console] { run_inspect(*options, console); });
}

// --- verify --------------------------------------------------------------------------------------------------------
struct VerifyOptions {
  std::vector<std::string> models;
  std::string from;
  bool values = false;
};

void verify_file(const VerifyOptions& options, Console& console) {
  const std::string& path = options.models.front();
  const convert::Layout& layout = convert::detect_layout(path);
  if (layout.name != "ingot") {
    throw Error(ErrorKind::unsupported,
                path + ": layout " + std::string(layout.name) +
                    " carries no hashes, only an .ingot checks itself; 'ingot verify A B' compares two models");
  }
  const Clock::time_point start = Clock::now();
  const container::VerifyResult result = container::verify(path, options.values, console.progress());
  const double seconds = seconds_since(start);
  console.end_progress();
  const bool intact = result.findings.empty();
  if (!intact) console.exit_code = ExitCode::failed;
  if (console.json()) {
    console.print_json(verify_json(path, result, seconds));
  } else {
    console.print(verify_text(path, result, options.values, seconds, console.style()));
  }
}

void verify_pair(const VerifyOptions& options, Console& console) {
  const tensor::Model a = convert::read_model(options.models[0], options.from);
  const tensor::Model b = convert::read_model(options.models[1], options.from);
  const ModelDifference difference = compare_models(a, b, Depth::fingerprints, console.progress());
  if (!difference.values_equal()) console.exit_code = ExitCode::failed;
  if (console.json()) {
    console.print_json(difference_json(difference, Depth::fingerprints));
  } else {
    console.print(equality_text(difference, console.style()));
  }
}

void add_verify(CLI::App& app, Console& console) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand("verify", "Check one .ingot, or that two models hold the same values");
  command->add_option("MODEL", options->models, "One .ingot file (or set), or two models in any layouts")
      ->required()
      ->expected(1, 2);
  command->add_flag("--values", options->values,
                    "One file: also decode every tensor and compare its recorded fingerprint");
  convert::add_from_option(*command, options->from, "the input, or of both");
  console.add_common_options(*command);
  command->footer(
      "One file: reads every byte and checks every hash; of a manifest, those of all files of the set.\n"
      "Two models: exit code 0 only if all values are equal, whatever the layouts.\n\n"
      "Examples:\n"
      "  ingot verify model.ingot\n"
      "  ingot verify model.ingot --values\n"
      "  ingot verify checkpoint/ model.gguf");
  command->callback([options, &console] {
    options->models.size() == 1 ? verify_file(*options, console) : verify_pair(*options, console);
  });
}

// --- diff ----------------------------------------------------------------------------------------------------------
struct DiffOptions {
  std::string a, b, from;
  bool all = false;
};

void run_diff(const DiffOptions& options, Console& console) {
  const tensor::Model a = convert::read_model(options.a, options.from);
  const tensor::Model b = convert::read_model(options.b, options.from);
  const ModelDifference difference = compare_models(a, b, Depth::values, console.progress());
  if (!difference.identical()) console.exit_code = ExitCode::failed;
  if (console.json()) {
    console.print_json(difference_json(difference, Depth::values));
  } else {
    console.print(difference_text(difference, !options.all, console.style()));
  }
}

void add_diff(CLI::App& app, Console& console) {
  const auto options = std::make_shared<DiffOptions>();
  CLI::App* command =
      app.add_subcommand("diff", "Show which tensors and settings of two models differ, and by how much");
  command->add_option("A", options->a, "File or directory in any layout")->required();
  command->add_option("B", options->b, "File or directory in any layout")->required();
  command->add_flag("--all", options->all, "One line for every tensor instead of folding repeated layers");
  convert::add_from_option(*command, options->from, "the input, or of both");
  console.add_common_options(*command);
  command->footer(
      "Compared are, whatever the layouts: the values of all tensors, the configuration (sizes, norms,\n"
      "positions, ...), the metadata (names, licence, ...), and the tokenizer (vocabulary, merges, how\n"
      "text is cut, special tokens, chat template). Not compared is what changes no value and no token:\n"
      "schemes, packing, order and files of the tensors, the spelling of a known pattern, defaults.\n\n"
      "Errors are those of B against A. STEPS is the worst error in units of B's scale (integer codes) or\n"
      "of the last place, in B's type, of the larger value (floats). Exit code 0 only if nothing differs.\n\n"
      "Examples:\n"
      "  ingot diff original/ fine-tuned/\n"
      "  ingot diff model.ingot model-q8_0.gguf --json");
  command->callback([options, &console] { run_diff(*options, console); });
}

}  // namespace

void add_commands(CLI::App& app, Console& console) {
  add_inspect(app, console);
  add_verify(app, console);
  add_diff(app, console);
  add_check_command(app, console);
}

}  // namespace ingot::inspect
