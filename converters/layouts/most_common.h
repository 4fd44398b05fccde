// What a config says of all modules, so that only the others need words of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace ingot::convert {

/// The value that occurs most often, of several the one that occurs first. `values`: at least one, few different ones.
template <class Value>
[[nodiscard]] Value most_common(const std::vector<Value>& values) {
  std::vector<std::pair<Value, std::uint64_t>> counts;
  for (const Value& value : values) {
    const auto found = std::find_if(counts.begin(), counts.end(), [&](const auto& row) { return row.first == value; });
    if (found == counts.end()) {
      counts.emplace_back(value, 1);
    } else {
      ++found->second;
    }
  }
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

}  // namespace ingot::convert
