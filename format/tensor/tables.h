// The built-in code tables, one row each. Implements spec/schemes/table.md.
#pragma once

#include <span>
#include <string_view>

namespace ingot::tensor {

struct CodeTable {
  std::string_view name;
  std::span<const float> entries;  // a power of two many; code c means entries[c]
};

/// The name under which a scheme carries its own table in plane `table`.
inline constexpr std::string_view kCustomTable = "custom";

/// Null when there is no such built-in table.
[[nodiscard]] const CodeTable* find_code_table(std::string_view name) noexcept;
[[nodiscard]] std::span<const CodeTable> code_tables() noexcept;

}  // namespace ingot::tensor
