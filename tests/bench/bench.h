// What the benchmark programs share: options, repeated timing, rows as text and JSON.
// A rate is quoted together with a limit measured in the same run, because shared machines vary from minute to minute.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/json.h"
#include "format/base/output_file.h"

namespace ingot::bench {

struct Options {
  bool smoke = false;     // smallest size, one round: shows that the benchmark works
  std::string json_path;  // empty: none
};

[[nodiscard]] inline Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--smoke") {
      options.smoke = true;
    } else if (argument == "--json" && i + 1 < argc) {
      options.json_path = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--smoke] [--json FILE]\n", argv[0]);
      std::exit(2);
    }
  }
  return options;
}

struct Timing {
  double median_seconds = 0;
  double best_seconds = 0;
  int rounds = 0;
};

[[nodiscard]] inline Timing summarize(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), static_cast<int>(seconds.size())};
}

[[nodiscard]] inline double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Runs the alternatives in turn (A B A B ...), so that a change of the machine's speed hits all alike.
[[nodiscard]] inline std::vector<Timing> measure(int rounds, const std::vector<std::function<void()>>& alternatives) {
  std::vector<std::vector<double>> seconds(alternatives.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < alternatives.size(); ++i) seconds[i].push_back(seconds_of(alternatives[i]));
  }
  std::vector<Timing> timings;
  for (std::vector<double>& one : seconds) timings.push_back(summarize(std::move(one)));
  return timings;
}

/// Rows are printed as they come and written as JSON at the end.
class Report {
 public:
  explicit Report(std::string benchmark) : benchmark_(std::move(benchmark)) {}

  /// `amount` per round in `unit` ("GB" -> GB/s; "call" -> time per call). `limit` is the same rate of the limit, 0
  /// when there is none.
  void add(const std::string& name, const Timing& timing, double amount, const std::string& unit, double limit = 0) {
    const double rate = amount / timing.median_seconds;
    if (unit == "call") {
      std::printf("%-44s %10.2f us median %10.2f us best  (%d rounds)\n", name.c_str(), 1e6 / rate,
                  1e6 * timing.best_seconds / amount, timing.rounds);
    } else {
      std::printf("%-44s %8.2f %s/s median %8.2f best", name.c_str(), rate, unit.c_str(), amount / timing.best_seconds);
      if (limit > 0) std::printf("  %5.1f %% of the limit", 100 * rate / limit);
      std::printf("  (%d rounds)\n", timing.rounds);
    }
    Json row;
    row.set("name", name);
    row.set("median_seconds", timing.median_seconds);
    row.set("best_seconds", timing.best_seconds);
    row.set("rounds", timing.rounds);
    row.set("amount", amount);
    row.set("unit", unit);
    if (limit > 0) row.set("fraction_of_limit", rate / limit);
    rows_.push_back(std::move(row));
  }

  void write_json(const std::string& path) const {
    if (path.empty()) return;
    Json document;
    document.set("benchmark", benchmark_);
    document.set("rows", Json(rows_));
    write_file_atomically(path, as_bytes_view(pretty_json(document)));
  }

 private:
  std::string benchmark_;
  JsonArray rows_;
};

/// Keeps the compiler from dropping a result.
template <class T>
inline void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

}  // namespace ingot::bench
