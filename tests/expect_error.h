// Comparing the kind of a thrown ingot::Error; messages are for people and are not compared.
#pragma once

#include <optional>

#include "format/base/error.h"

namespace ingot::test {

/// The Error that `call` throws; nothing when it throws none. Other exceptions pass through.
template <class Call>
[[nodiscard]] std::optional<Error> error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

/// For CHECK(throws_kind(ErrorKind::truncated, [&] { ... })).
template <class Call>
[[nodiscard]] bool throws_kind(ErrorKind kind, Call&& call) {
  const std::optional<Error> error = error_of(call);
  return error && error->kind == kind;
}

}  // namespace ingot::test
