// The verb check: the smoke test after a conversion.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "converters/commands.h"
#include "converters/registry.h"
#include "inspect/commands.h"
#include "inspect/model_check.h"

namespace ingot::inspect {
namespace {

struct CheckCommand {
  std::string model, from, against;
  bool exact = false;
};

void run_check(const CheckCommand& command, Console& console) {
  const tensor::Model model = convert::read_model(command.model, command.from);
  console.note_findings(model.findings);
  std::optional<tensor::Model> against;
  if (!command.against.empty()) against = convert::read_model(command.against);
  const ModelCheck check =
      check_model(model, against ? &*against : nullptr,
                  command.exact ? runtime::Numerics::exact : runtime::Numerics::fast, console.progress());
  console.end_progress();
  if (!check.good()) console.exit_code = ExitCode::failed;
  console.json() ? console.print_json(check_json(check)) : console.print(check_text(check, console.style()));
}

}  // namespace

void add_check_command(CLI::App& app, Console& console) {
  const auto command = std::make_shared<CheckCommand>();
  CLI::App* verb = app.add_subcommand("check", "Tell whether a model is sound: numbers, text, agreement with another");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  verb->add_option("--against", command->against, "The model it was made of, or another form of it")
      ->type_name("MODEL");
  verb->add_flag("--exact", command->exact, "Decode weights exactly and add in float32");
  convert::add_from_option(*verb, command->from);
  console.add_common_options(*verb);
  verb->footer(
      "Bad is: a value that is not finite; more than a tenth of a matrix's rows zero or of its groups\n"
      "dead (scale 0, or all codes equal); a matrix 50 times as large as in the other layers, or as\n"
      "small; a sample of English that 4 to 7 tokens of context predict nearly as well as 64 to 127\n"
      "(1.4 times the perplexity is the least); every prompt continued with one token over and over.\n"
      "With --against also: a tensor whose error is above 0.8 of its values (root mean square), missing\n"
      "or of another shape; on the sample, a KL divergence above 1 nat or fewer than half of the\n"
      "likeliest tokens the same. Above 0.1 nat a note says that much was lost.\n"
      "A model that cannot be run here has its numbers checked. Exit code 0 good, 1 bad.\n\n"
      "Examples:\n"
      "  ingot check model.gguf\n"
      "  ingot check converted.ingot --against original/\n"
      "  ingot check model.gguf --json | jq .verdict");
  verb->callback([command, &console] { run_check(*command, console); });
}

}  // namespace ingot::inspect
