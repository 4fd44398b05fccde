// The verbs inspect, verify, diff and check of the command line.
#pragma once

#include "inspect/console.h"

namespace ingot::inspect {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);

void add_check_command(CLI::App& app, Console& console);

}  // namespace ingot::inspect
