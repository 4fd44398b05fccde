// The verbs edit and compact of the command line.
#pragma once

#include "inspect/console.h"

namespace ingot::container {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);

}  // namespace ingot::container
