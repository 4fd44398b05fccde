// Patterns for sets of modules: expected values from std::regex, which knows nothing of how they are made.
#include "converters/layouts/module_patterns.h"

#include <doctest/doctest.h>

#include <random>
#include <regex>
#include <set>

namespace ingot::convert {
namespace {

using Modules = std::vector<std::string>;

/// Is each module of `set` matched by one pattern, and none of `others` by any?
void check_matches(const Modules& set, const Modules& others, const Modules& patterns) {
  std::vector<std::regex> compiled;
  for (const std::string& pattern : patterns) {
    CHECK(pattern.size() <= kLongestModulePattern);
    compiled.emplace_back(pattern);
  }
  const auto matches = [&](const std::string& module) {
    return std::count_if(compiled.begin(), compiled.end(),
                         [&](const std::regex& regex) { return std::regex_search(module, regex); });
  };
  for (const std::string& module : set) {
    CAPTURE(module);
    CHECK(matches(module) == 1);
  }
  for (const std::string& module : others) {
    CAPTURE(module);
    CHECK(matches(module) == 0);
  }
}

Modules all_modules(int layers, int experts) {
  Modules modules;
  for (int layer = 0; layer < layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer);
    for (const char* name : {"q_proj", "o_proj"}) modules.push_back(prefix + ".self_attn." + name);
    for (int expert = 0; expert < experts; ++expert)
      for (const char* name : {"gate_proj", "up_proj", "down_proj"})
        modules.push_back(prefix + ".mlp.experts." + std::to_string(expert) + "." + name);
  }
  modules.emplace_back("lm_head");
  return modules;
}

}  // namespace

TEST_CASE("module_patterns_of_single_modules_are_their_names") {
  CHECK(module_patterns({}).empty());
  CHECK(module_patterns({"lm_head", "model.layers.3.mlp.up_proj"}) ==
        Modules{"^lm_head$", R"(^model\.layers\.3\.mlp\.up_proj$)"});
  CHECK(module_patterns({"a(b)+c"}) == Modules{R"(^a\(b\)\+c$)"});
}

TEST_CASE("module_patterns_match_their_modules_and_no_others") {
  std::mt19937_64 random(31);
  const Modules all = all_modules(4, 6);
  for (int round = 0; round < 40; ++round) {
    Modules set, others;
    for (const std::string& module : all)
      (random() % 4 <= static_cast<unsigned>(round % 4) ? set : others).push_back(module);
    check_matches(set, others, module_patterns(set));
  }
}

TEST_CASE("module_patterns_of_ten_thousand_experts_are_few") {
  Modules even, others;
  for (const std::string& module : all_modules(60, 128)) {
    const std::size_t at = module.find("experts.");
    const bool is_even = at != std::string::npos && std::stoi(module.substr(at + 8)) % 2 == 0;
    (is_even ? even : others).push_back(module);
  }
  const Modules patterns = module_patterns(even);
  CHECK(even.size() == 11'520);
  CHECK(patterns.size() == 1);
  check_matches({even.front(), even[5000], even.back()}, {others.begin(), others.begin() + 400}, patterns);

  const Modules many = all_modules(1000, 200);  // one pattern of all of them would be too long
  const Modules split = module_patterns({many.begin(), many.end() - 1});
  CHECK(split.size() > 2);
  CHECK(split.size() < 40);
  check_matches({many.front(), many[123'456]}, {"lm_head", "model.layers.1000.self_attn.q_proj"}, split);
}

}  // namespace ingot::convert
