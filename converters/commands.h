// The verbs convert, join and restore of the command line, and the option that names a layout.
#pragma once

#include <string>

#include "inspect/console.h"

namespace ingot::convert {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);

void add_restore_command(CLI::App& app, Console& console);

/// --from LAYOUT: overrides detection; an unknown name is a usage error.
void add_from_option(CLI::App& command, std::string& from, const std::string& whose = "the input");

}  // namespace ingot::convert
