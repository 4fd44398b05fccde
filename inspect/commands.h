// The verbs inspect, verify and diff of the command line.
#pragma once

#include "inspect/console.h"

namespace ingot::inspect {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);

}  // namespace ingot::inspect
