// Reading a prompt and generating: SmolLM2-135M from INGOT_TEST_MODELS/smollm2/model.gguf when there, else the tiny
// Llama of tests/data.
#include <cstdlib>
#include <filesystem>

#include "converters/registry.h"
#include "format/base/parallel.h"
#include "runtime/runtime.h"
#include "tests/bench/bench.h"

using namespace ingot;

namespace {

std::filesystem::path model_path() {
  const char* models = std::getenv("INGOT_TEST_MODELS");
  const auto smollm = std::filesystem::path(models == nullptr ? "" : models) / "smollm2" / "model.gguf";
  if (models != nullptr && std::filesystem::exists(smollm)) return smollm;
  return std::filesystem::path(INGOT_TEST_DATA) / "data" / "tiny-llama";
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  bench::Report report("generate");
  const tensor::Model model = convert::read_model(model_path());
  const int rounds = options.smoke ? 1 : 5;
  const std::uint64_t prompt_tokens = options.smoke ? 8 : 256, new_tokens = options.smoke ? 4 : 64;
  std::printf("%s\n", model_path().filename().c_str());
  const std::vector<std::uint32_t> prompt(prompt_tokens, 5);
  const int all = thread_count();
  for (const int threads : {1, all}) {
    set_thread_count(threads);
    runtime::Session session(model, 0);
    const auto timings = bench::measure(rounds, {[&] {
                                                   session.reset();
                                                   bench::keep(session.forward(prompt)[0]);
                                                 },
                                                 [&] {
                                                   for (std::uint64_t i = 0; i < new_tokens; ++i) {
                                                     bench::keep(session.forward(std::span(prompt).first(1))[0]);
                                                   }
                                                 }});
    const std::string suffix = ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    report.add("prompt of " + std::to_string(prompt_tokens) + suffix, timings[0], static_cast<double>(prompt_tokens),
               "token");
    report.add("decode" + suffix, timings[1], static_cast<double>(new_tokens), "token");
    const double gigabytes = static_cast<double>(session.weight_bytes_per_token() * new_tokens) / 1e9;
    report.add("decode, weights read" + suffix, timings[1], gigabytes, "GB");
    if (all == 1) break;
  }
  report.write_json(options.json_path);
}
