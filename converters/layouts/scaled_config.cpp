// What quantization_config says about weights, as far as shapes leave a choice.
#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "converters/layouts/scaled_modules.h"

namespace ingot::convert::scaled {
namespace {

std::uint64_t count_of(const Json* json) {
  if (json == nullptr || !json->is_integer()) return 0;
  const std::int64_t value = json->as_i64("config");
  return value > 0 && value <= std::numeric_limits<std::uint32_t>::max() ? static_cast<std::uint64_t>(value) : 0;
}

void read_block(const Json* json, Config::Group& group) {
  if (json == nullptr) return;
  if (json->is_array() && json->as_array("config").size() == 2) {
    group.block_rows = count_of(&json->as_array("config")[0]);
    group.block_cols = count_of(&json->as_array("config")[1]);
  } else if (json->is_string()) {  // "128x128", as old versions wrote it
    const std::string text = json->as_string("config");
    const std::size_t cross = text.find('x');
    if (cross == std::string::npos || text.size() > 20) return;
    std::from_chars(text.data(), text.data() + cross, group.block_rows);
    std::from_chars(text.data() + cross + 1, text.data() + text.size(), group.block_cols);
  }
  if (group.block_rows > std::numeric_limits<std::uint32_t>::max()) group.block_rows = 0;
  if (group.block_cols > std::numeric_limits<std::uint32_t>::max()) group.block_cols = 0;
}

/// "0.17.2" is before 0.18, where the packing of 3, 5, 6 and 7 bits changed.
std::optional<bool> is_dense_version(const Json* json) {
  if (json == nullptr || !json->is_string()) return std::nullopt;
  const std::string text = json->as_string("version");
  unsigned major = 0, minor = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, major);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return std::nullopt;
  if (std::from_chars(first.ptr + 1, end, minor).ec != std::errc()) return std::nullopt;
  return major > 0 || minor >= 18;
}

}  // namespace

Config::Config(const Json* quantization) {
  if (quantization == nullptr) return;
  dense_words = is_dense_version(quantization->find("version"));
  const Json* transform = quantization->find("transform_config");
  transforms = transform != nullptr && transform->is_object() && !transform->as_object("transform_config").empty();
  if (const Json* block = quantization->find("weight_block_size")) read_block(block, groups.emplace_back());
  const Json* list = quantization->find("config_groups");
  if (list == nullptr || !list->is_object()) return;
  if (const Json* word = quantization->find("format"); word != nullptr && word->is_string())
    format = word->as_string("format");
  auto all_targets = std::make_shared<Targets>();
  std::set<std::string> formats;  // of groups
  for (const auto& [name, value] : list->as_object("config_groups")) {
    if (const Json* own = value.is_object() ? value.find("format") : nullptr; own != nullptr && own->is_string())
      formats.insert(own->as_string("format"));
    const Json* weights = value.is_object() ? value.find("weights") : nullptr;
    if (weights == nullptr || !weights->is_object()) continue;
    Group& group = groups.emplace_back();
    group.bits = weights->find("num_bits") == nullptr ? 8 : count_of(weights->find("num_bits"));
    group.group_size = count_of(weights->find("group_size"));
    read_block(weights->find("block_structure"), group);
    const Json* symmetric = weights->find("symmetric");
    group.symmetric = symmetric == nullptr || !symmetric->is_bool() || symmetric->as_bool("symmetric");
    const Json* targets = value.find("targets");
    if (targets == nullptr || !targets->is_array()) continue;
    for (const Json& target : targets->as_array("targets")) {
      if (!target.is_string()) continue;
      std::vector<std::size_t>& named = (*all_targets)[target.as_string("targets")];
      if (named.empty() || named.back() != groups.size() - 1) named.push_back(groups.size() - 1);
    }
  }
  if (!formats.empty()) format = formats.size() == 1 ? *formats.begin() : std::string();
  targets_ = std::move(all_targets);
}

Config Config::of(const std::string& module) const {
  if (targets_ == nullptr) return *this;
  const auto found = targets_->find(module);
  if (found == targets_->end()) return *this;
  Config own = *this;
  own.groups.clear();
  for (const std::size_t group : found->second) own.groups.push_back(groups[group]);
  return own;
}

bool Config::all_symmetric() const noexcept {
  return !groups.empty() &&
         std::all_of(groups.begin(), groups.end(), [](const Group& group) { return group.symmetric; });
}
bool Config::all_asymmetric() const noexcept {
  return !groups.empty() &&
         std::none_of(groups.begin(), groups.end(), [](const Group& group) { return group.symmetric; });
}

}  // namespace ingot::convert::scaled
