#include "format/container/commands.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "format/base/utf8.h"
#include "format/container/container.h"
#include "inspect/text.h"

namespace ingot::container {
namespace {

constexpr std::uint64_t kCompressedChunks = 1;  // required feature bit 0, spec/container.md section 2

// --- edit ----------------------------------------------------------------------------------------------------------
struct EditCommand {
  std::string file;
  std::vector<std::string> set, unset;
};

std::vector<MetadataChange> parse_changes(const EditCommand& command) {
  std::vector<MetadataChange> changes;
  for (const std::string& assignment : command.set) {
    const std::size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals == 0)
      throw CLI::ValidationError("--set: '" + assignment + "' is not KEY=VALUE");
    changes.push_back({assignment.substr(0, equals), assignment.substr(equals + 1)});
  }
  for (const std::string& key : command.unset) changes.push_back({key, std::nullopt});
  if (changes.empty()) throw CLI::RequiredError("--set KEY=VALUE or --unset KEY");
  return changes;
}

void run_edit(const EditCommand& command, Console& console) {
  const std::vector<MetadataChange> changes = parse_changes(command);
  const std::uint64_t before = facts(command.file).generation;
  edit_metadata(command.file, changes);
  const FileFacts file = facts(command.file);
  const std::size_t count = file.generation == before ? 0 : changes.size();  // all that was asked for stood there
  if (console.json()) {
    Json document;
    document.set("path", to_valid_utf8(command.file));
    document.set("changes", static_cast<std::uint64_t>(count));
    document.set("generation", file.generation);
    document.set("dead_bytes", file.dead_bytes);
    console.print_json(document);
    return;
  }
  std::string text = inspect::printable(command.file) + ": " + inspect::plural(count, "change") + ", now generation " +
                     std::to_string(file.generation);
  if (file.dead_bytes > 0) text += ", " + inspect::human_bytes(file.dead_bytes) + " dead (ingot compact frees them)";
  console.print(text + "\n");
}

void add_edit(CLI::App& app, Console& console) {
  const auto command = std::make_shared<EditCommand>();
  CLI::App* verb = app.add_subcommand("edit", "Change metadata of an .ingot in place");
  verb->add_option("FILE", command->file, "An .ingot file")->required();
  verb->add_option("--set", command->set, "Set a metadata key (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  verb->add_option("--unset", command->unset, "Remove a metadata key (repeatable)")
      ->type_name("KEY")
      ->allow_extra_args(false);
  console.add_common_options(*verb);
  verb->footer(
      "The weights are not touched, and a crash at any moment leaves a readable file. Metadata of a set are\n"
      "those of its manifest: an edited member no longer fits it.\n\n"
      "Examples:\n"
      "  ingot edit model.ingot --set general.name='Tiny Llama' --set general.license=apache-2.0\n"
      "  ingot edit model.ingot --unset general.license");
  verb->callback([command, &console] { run_edit(*command, console); });
}

// --- compact -------------------------------------------------------------------------------------------------------
struct CompactCommand {
  std::string file, output;
  bool overwrite = false;
};

WriteResult run_into(const CompactCommand& command, const WriteOptions& options) {
  std::error_code status;
  if (!command.overwrite && std::filesystem::exists(command.output, status)) {
    throw Error(ErrorKind::io, command.output + ": exists already (--force replaces it)");
  }
  return compact(command.file, command.output, options);
}

void run_compact(const CompactCommand& command, Console& console) {
  const FileFacts before = facts(command.file);
  WriteOptions options;
  options.compression = (before.required_features & kCompressedChunks) != 0 ? Compression::zstd : Compression::none;
  options.progress = console.progress();
  const WriteResult result = command.output.empty() ? compact(command.file, options) : run_into(command, options);
  console.end_progress();
  if (console.json()) {
    Json document;
    document.set("path", to_valid_utf8(command.output.empty() ? command.file : command.output));
    document.set("bytes_before", before.file_bytes);
    document.set("bytes_after", result.file_bytes);
    document.set("root", result.root.hex());
    console.print_json(document);
    return;
  }
  console.print(inspect::printable(command.output.empty() ? command.file : command.output) + ": " +
                inspect::human_bytes(before.file_bytes) + " -> " + inspect::human_bytes(result.file_bytes) + "\n");
}

void add_compact(CLI::App& app, Console& console) {
  const auto command = std::make_shared<CompactCommand>();
  CLI::App* verb = app.add_subcommand("compact", "Rewrite an .ingot without the space that edits left behind");
  verb->add_option("FILE", command->file, "An .ingot file")->required();
  verb->add_option("-o,--output", command->output, "Write here instead of replacing FILE")->type_name("OUT");
  verb->add_flag("--force", command->overwrite, "Replace OUT if it exists");
  console.add_common_options(*verb);
  verb->footer(
      "Of the manifest of a set, the manifest alone; each member is compacted by its own name.\n\n"
      "Examples:\n"
      "  ingot compact model.ingot\n"
      "  ingot compact model.ingot -o clean.ingot");
  verb->callback([command, &console] {
    Console::catch_interrupts();
    run_compact(*command, console);
  });
}

}  // namespace

void add_commands(CLI::App& app, Console& console) {
  add_edit(app, console);
  add_compact(app, console);
}

}  // namespace ingot::container
