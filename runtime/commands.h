// The verbs run, bench, eval and tokenize of the command line.
#pragma once

#include "inspect/console.h"

namespace ingot::runtime {

/// Both arguments must outlive parsing.
void add_commands(CLI::App& app, Console& console);
void add_bench_command(CLI::App& app, Console& console);  // one of them each
void add_eval_command(CLI::App& app, Console& console);
void add_tokenize_command(CLI::App& app, Console& console);

}  // namespace ingot::runtime
