// The verb bench: a table or a document of speeds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "format/base/parallel.h"
#include "inspect/text.h"
#include "kernels/registry.h"
#include "runtime/commands.h"
#include "runtime/matrix.h"
#include "runtime/peer.h"
#include "runtime/speed.h"
#include "runtime/statistics.h"

namespace ingot::runtime {
namespace {

using inspect::Ink;

struct BenchCommand {
  std::string model, from, against;
  std::uint64_t prompt_tokens = 512, new_tokens = 32, probe_megabytes = 512;
  bool asked_for_prompt = false;  // else it may be shorter, for a small context
  std::uint64_t rounds = 3;
  bool exact = false;
};

constexpr std::uint64_t kMegabyte = 1'000'000;
constexpr std::uint64_t kBytesOfScheme = 256 * kMegabyte;

struct Measured {
  std::uint64_t weight_bytes = 0;  // read for one token
  double load_seconds = 0;         // from the path to a session that can read tokens
  Memory memory;                   // after all rounds
  int streams = 0;                 // of each thread, of the probe
  std::vector<RoundSpeed> ours, theirs;
  std::vector<SchemeSpeed> schemes;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

Memory memory_without(const ReadProbe& probe) {
  Memory memory = memory_now();
  memory.resident -= std::min(memory.resident, probe.bytes());
  memory.owned -= std::min(memory.owned, probe.bytes());
  return memory;
}

/// The peer reads nothing else.
void require_gguf(const std::filesystem::path& path) {
  constexpr std::string_view kMagic = "GGUF";
  if (std::filesystem::is_regular_file(path) && as_text(MappedFile(path).bytes()).starts_with(kMagic)) return;
  throw Error(ErrorKind::unsupported, path.string() + ": --against needs a GGUF file, which llama.cpp reads");
}

Measured measure(BenchCommand& command) {
  Measured measured;
  if (!command.against.empty()) require_gguf(command.model);
  const auto start = std::chrono::steady_clock::now();
  const tensor::Model model = convert::read_model(command.model, command.from);
  const Numerics numerics = command.exact ? Numerics::exact : Numerics::fast;
  const std::uint64_t context = model.config.context_length;
  if (!command.asked_for_prompt && context > command.new_tokens)
    command.prompt_tokens = std::min(command.prompt_tokens, context - command.new_tokens);
  const auto stop = [] { return Console::interrupted(); };
  auto session = std::make_unique<Session>(model, command.prompt_tokens + command.new_tokens, numerics);
  measured.load_seconds = seconds_since(start);
  measured.weight_bytes = session->weight_bytes_per_token();
  ReadProbe probe(command.probe_megabytes * kMegabyte);
  measured.streams = probe.streams();
  (void)time_round(*session, 0, 1, probe, stop);  // pages of the file come into memory
  for (std::uint64_t round = 0; round < command.rounds; ++round) {
    if (stop()) throw Interrupted{};
    measured.ours.push_back(time_round(*session, command.prompt_tokens, command.new_tokens, probe, stop));
    if (command.against.empty()) continue;
    measured.theirs.push_back(
        time_llama_bench(command.against, command.model, command.prompt_tokens, command.new_tokens));
  }
  measured.memory = memory_without(probe);
  session.reset();
  measured.schemes = time_schemes(model, numerics, kBytesOfScheme, static_cast<int>(command.rounds), probe, stop);
  if (stop()) throw Interrupted{};  // times of what was cut off are none
  return measured;
}

double median_of(const std::vector<RoundSpeed>& rounds, double RoundSpeed::*member) {
  std::vector<double> seconds;
  for (const RoundSpeed& round : rounds) seconds.push_back(round.*member);
  return median(std::move(seconds));
}

// Empty where no reading was measured: a probe of less than a page for each thread.
std::string percent(double share) { return std::isfinite(share) ? inspect::fixed(100 * share, 0) + " %" : ""; }

// Which part of the reading rate beside it a round reached; of the peer, of which nothing was read beside, of all.
double share_of_reading(const std::vector<RoundSpeed>& rounds, double bytes, double reading_of_all) {
  std::vector<double> shares;
  for (const RoundSpeed& round : rounds)
    shares.push_back(bytes / round.token_seconds / (round.reading > 0 ? round.reading : reading_of_all));
  return median(std::move(shares));
}

using Align = inspect::TextTable::Align;

std::string machine_facts(const BenchCommand& command, const Measured& measured, const Console& console) {
  inspect::FactList facts;
  facts.add("machine", inspect::plural(static_cast<std::uint64_t>(thread_count()), "thread") + ", kernels " +
                           kernels::best().name + (command.exact ? ", exact" : ""));
  facts.add("load", inspect::human_seconds(measured.load_seconds) + " until the first token can be read");
  facts.add("memory", inspect::human_bytes(measured.memory.resident) + " resident, " +
                          inspect::human_bytes(measured.memory.owned) + " of it not of files");
  facts.add("reading", inspect::human_rate(median_of(measured.ours, &RoundSpeed::reading), 1) +
                           " from memory between the tokens, in the best pattern (" +
                           inspect::plural(static_cast<std::uint64_t>(measured.streams), "stream") +
                           " for each thread)");
  return facts.render(console.style());
}

std::string work_table(const BenchCommand& command, const Measured& measured, const Console& console) {
  inspect::TextTable table({{"WORK"},
                            {"TOKENS/S", Align::right},
                            {"WEIGHTS READ", Align::right},
                            {"RATE", Align::right},
                            {"OF READING", Align::right}});
  const double reading = median_of(measured.ours, &RoundSpeed::reading);
  const auto add = [&](const std::string& who, const std::vector<RoundSpeed>& rounds) {
    if (command.prompt_tokens > 0) {
      const double seconds = median_of(rounds, &RoundSpeed::prompt_seconds);
      table.add_row({who + "prompt of " + inspect::plural(command.prompt_tokens, "token"),
                     inspect::fixed(static_cast<double>(command.prompt_tokens) / seconds, 1), "", "", ""});
    }
    const double seconds = median_of(rounds, &RoundSpeed::token_seconds);
    const auto bytes = static_cast<double>(measured.weight_bytes);
    table.add_row({who + "one token after the other", inspect::fixed(1 / seconds, 1),
                   inspect::human_bytes(measured.weight_bytes), inspect::human_rate(bytes, seconds),
                   percent(share_of_reading(rounds, bytes, reading))});
  };
  add("", measured.ours);
  if (!measured.theirs.empty()) {
    add("llama.cpp: ", measured.theirs);
    const auto ratio = [&](double RoundSpeed::*member) {
      return inspect::fixed(median_of(measured.theirs, member) / median_of(measured.ours, member), 2) + "x";
    };
    if (command.prompt_tokens > 0) table.add_row({"ratio, prompt", ratio(&RoundSpeed::prompt_seconds), "", "", ""});
    table.add_row({"ratio, token", ratio(&RoundSpeed::token_seconds), "", "", ""});
  }
  return table.render(console.style());
}

std::string scheme_table(const Measured& measured, const Console& console) {
  inspect::TextTable table({{"SCHEME", Align::left, inspect::Elide::end},
                            {"KERNELS"},
                            {"MEASURED", Align::right},
                            {"ONE VECTOR", Align::right},
                            {"OF READING", Align::right},
                            {std::to_string(kMaxVectors) + " VECTORS", Align::right}});
  for (const SchemeSpeed& speed : measured.schemes) {
    const double rate = static_cast<double>(speed.bytes) / speed.seconds;
    constexpr double kGiga = 1e9;
    const double operations = static_cast<double>(speed.prompt_operations) / kGiga;
    table.add_row({speed.scheme, std::string(speed.kernels), inspect::human_bytes(speed.bytes),
                   inspect::human_rate(rate, 1), percent(rate / speed.reading),
                   operations > 0 ? inspect::fixed(operations / speed.prompt_seconds, 1) + " Gop/s" : ""});
  }
  return table.render(console.style());
}

Json rounds_json(const std::vector<RoundSpeed>& rounds) {
  Json list(JsonArray{});
  for (const RoundSpeed& round : rounds) {
    Json entry;
    entry.set("prompt_seconds", round.prompt_seconds);
    entry.set("token_seconds", round.token_seconds);
    if (round.reading > 0) entry.set("read_bytes_per_second", round.reading);
    list.push_back(std::move(entry));
  }
  return list;
}

Json document(const BenchCommand& command, const Measured& measured) {
  Json result;
  result.set("threads", thread_count());
  result.set("kernels", kernels::best().name);
  result.set("numerics", command.exact ? "exact" : "fast");
  result.set("load_seconds", measured.load_seconds);
  result.set("resident_bytes", measured.memory.resident);
  result.set("owned_bytes", measured.memory.owned);
  result.set("read_bytes_per_second", median_of(measured.ours, &RoundSpeed::reading));
  result.set("read_streams", measured.streams);
  result.set("weight_bytes_per_token", measured.weight_bytes);
  result.set("prompt_tokens", command.prompt_tokens);
  result.set("new_tokens", command.new_tokens);
  result.set("rounds", rounds_json(measured.ours));
  if (!measured.theirs.empty()) result.set("against", rounds_json(measured.theirs));
  Json schemes(JsonArray{});
  for (const SchemeSpeed& speed : measured.schemes) {
    Json entry;
    entry.set("scheme", speed.scheme);
    entry.set("kernels", std::string(speed.kernels));
    entry.set("bytes", speed.bytes);
    entry.set("seconds", speed.seconds);
    entry.set("read_bytes_per_second", speed.reading);
    entry.set("prompt_vectors", kMaxVectors);
    entry.set("prompt_operations", speed.prompt_operations);
    entry.set("prompt_seconds", speed.prompt_seconds);
    schemes.push_back(std::move(entry));
  }
  result.set("schemes", std::move(schemes));
  return result;
}

}  // namespace

void add_bench_command(CLI::App& app, Console& console) {
  const auto command = std::make_shared<BenchCommand>();
  CLI::App* verb = app.add_subcommand("bench", "Measure how fast a model runs, and what the memory would allow");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  const auto count = [&](const char* name, std::uint64_t& value, std::uint64_t least, const char* help) {
    return verb->add_option(name, value, help)
        ->capture_default_str()
        ->check(CLI::Range(least, std::uint64_t{1} << 30))
        ->type_name("N");
  };
  const CLI::Option* prompt = count("--prompt", command->prompt_tokens, 0, "Tokens of the prompt; 0: none");
  count("-n,--tokens", command->new_tokens, 1, "Tokens to generate");
  count("--rounds", command->rounds, 1, "Repetitions; the table shows medians");
  count("--probe", command->probe_megabytes, 1,
        "Megabytes to read, beside the model, in order to find the limit of the memory");
  verb->add_flag("--exact", command->exact, "Decode weights exactly and add in float32");
  verb->add_option("--against", command->against, "llama.cpp's llama-bench: run in turn on the same GGUF file")
      ->type_name("PROGRAM");
  convert::add_from_option(*verb, command->from);
  console.add_common_options(*verb);
  verb->footer(
      "A token needs every weight once, so reading them is the limit: OF READING says how much was\n"
      "reached of the rate at which plain reading goes in passes between the tokens or products.\n"
      "All figures are medians. The second table multiplies the matrices of\n"
      "each scheme with each set of kernels, with one vector as for a token, and with as many at once\n"
      "as a prompt is read by. INGOT_KERNELS=portable (or avx2, ...) chooses the set.\n\n"
      "Examples:\n"
      "  ingot bench model.ingot\n"
      "  ingot bench model.gguf --against ./llama-bench --threads 2\n"
      "  ingot bench checkpoint/ --prompt 0 -n 64 --json");
  verb->callback([command, prompt, &console] {
    command->asked_for_prompt = prompt->count() > 0;
    Console::catch_interrupts();
    const Measured measured = measure(*command);
    if (console.json()) return console.print_json(document(*command, measured));
    console.print(machine_facts(*command, measured, console) + "\n" + work_table(*command, measured, console) + "\n" +
                  scheme_table(measured, console));
  });
}

}  // namespace ingot::runtime
