// Runs a parsed template.
#pragma once

#include <string>

#include "runtime/jinja/syntax.h"

namespace ingot::runtime::jinja {

/// Work a template may do before it is taken for hostile.
struct Limits {
  std::uint64_t steps = 5'000'000;  // nodes evaluated
  std::uint64_t output_bytes = 16u << 20;
  std::uint64_t built_bytes = 256u << 20;  // strings and lists that expressions yield, all together
  std::uint32_t depth = 200;               // nested evaluations
};

/// `globals`: the variables of the template. Throws invalid_value (also for raise_exception), unsupported, or
/// limit_exceeded.
[[nodiscard]] std::string render(const Node& root, const Names& globals, const Limits& limits = {});

// builtins.cpp. Null when the name is unknown. The first positional argument is the value before `|` or `is`.
using Builtin = Value (*)(const Arguments& arguments);
[[nodiscard]] Builtin find_filter(std::string_view name) noexcept;
[[nodiscard]] Builtin find_test(std::string_view name) noexcept;
/// A method of a string, list or dict; null when the type has no such method. Called with the object as first
/// positional argument.
[[nodiscard]] Builtin find_method(const Value& object, std::string_view name) noexcept;
/// range, dict, namespace, raise_exception, strftime_now.
[[nodiscard]] Names builtin_functions();

}  // namespace ingot::runtime::jinja
