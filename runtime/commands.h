// The verb run of the command line.
#pragma once

#include "inspect/console.h"

namespace ingot::runtime {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);

}  // namespace ingot::runtime
