// The verb restore: the original checkpoint back.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/base/utf8.h"
#include "inspect/text.h"

namespace ingot::convert {
namespace {

struct RestoreCommand {
  std::string file, directory;
  bool overwrite = false;
};

void run_restore(const RestoreCommand& command, Console& console) {
  std::error_code status;
  if (std::filesystem::is_directory(command.file, status)) {
    throw Error(ErrorKind::io,
                command.file + ": is a directory; restored is an .ingot file (or the manifest of a set)");
  }
  const tensor::Model model = read_model(command.file, "ingot");
  const std::vector<RestoredFile> files = restore(model, command.directory, command.overwrite, console.progress());
  console.end_progress();
  if (console.json()) {
    Json list(JsonArray{});
    for (const RestoredFile& file : files) {
      Json entry;
      entry.set("path", file.path);
      entry.set("size", file.size);
      entry.set("hash", file.hash.hex());
      list.push_back(std::move(entry));
    }
    Json document;
    document.set("layout", model.source->layout);
    document.set("directory", to_valid_utf8(command.directory));
    document.set("files", std::move(list));
    console.print_json(document);
    return;
  }
  using Align = inspect::TextTable::Align;
  inspect::TextTable table({{"FILE", Align::left, inspect::Elide::front},
                            {"BYTES", Align::right},
                            {"HASH (equal to the original's)", Align::left}});
  std::uint64_t bytes = 0;
  for (const RestoredFile& file : files) {
    table.add_row({inspect::printable(file.path), inspect::with_separators(file.size), file.hash.hex()});
    bytes += file.size;
  }
  console.print(table.render(console.style()) + "Restored " + inspect::plural(files.size(), "file") + ", " +
                inspect::human_bytes(bytes) + ", byte for byte, into " + inspect::printable(command.directory) + "\n");
}

}  // namespace

void add_restore_command(CLI::App& app, Console& console) {
  const auto command = std::make_shared<RestoreCommand>();
  CLI::App* verb = app.add_subcommand("restore", "Give the original checkpoint back, byte for byte");
  verb->add_option("FILE", command->file, "An .ingot made from a foreign checkpoint")->required();
  verb->add_option("-o,--output", command->directory, "Directory for the original files (created)")
      ->required()
      ->type_name("DIR");
  verb->add_flag("--force", command->overwrite, "Replace files of the same name");
  console.add_common_options(*verb);
  verb->footer(
      "Each file is compared with the hash of the original before it gets its name.\n\n"
      "Examples:\n"
      "  ingot restore model.ingot -o original/\n"
      "  ingot restore model.ingot -o original/ && diff -r checkpoint/ original/");
  verb->callback([command, &console] {
    Console::catch_interrupts();
    run_restore(*command, console);
  });
}

}  // namespace ingot::convert
