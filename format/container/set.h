// Models in several files: the `set` member of a manifest's index, its members opened and checked against it, their
// names. Implements spec/sets.md. Internal to format/container.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/json.h"
#include "format/container/container.h"
#include "format/container/file.h"

namespace ingot::container {

/// The index member `set`. Throws invalid_value or limit_exceeded; never returns an empty list.
[[nodiscard]] std::vector<SetMember> set_from_json(const Json& json, std::string_view where);
[[nodiscard]] Json set_to_json(const std::vector<SetMember>& members);

/// Opens a member like any other file; errors name the manifest too.
[[nodiscard]] std::shared_ptr<File> open_member(const File& manifest, const SetMember& member);
/// That the opened file is the one which the manifest names. Throws mismatch or invalid_value.
void check_member(const File& manifest, const SetMember& member, const File& file);
/// What concerns all files of a set: unique names, references of the manifest. `members` in order. Throws
/// invalid_value, limit_exceeded.
void check_set(const File& manifest, const std::vector<std::shared_ptr<File>>& members);

/// `NAME-00002-of-00007.ingot` for the manifest `NAME.ingot`. Numbers count from 1.
[[nodiscard]] std::string member_file_name(std::string_view manifest_name, std::size_t number, std::size_t count);

}  // namespace ingot::container
