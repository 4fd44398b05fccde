// How the bytes of a fuzz input become a checkpoint directory, such that most mutations leave a well-formed safetensors
// file behind and reach the codec of the layout:
//     FILES NUL TABLE NUL DATA
// FILES: JSON files of the directory, parted by byte 1; the first line of each is its name.
// TABLE: one line per tensor, "name TAB type TAB extent,extent,..."; a line "@key TAB value" is metadata of the header.
// DATA:  content of the tensors in the order of the table, repeated as often as they need it.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "format/base/byte_reader.h"

namespace ingot::fuzz {

struct Sections {
  std::string_view files, table, data;
};
[[nodiscard]] inline Sections split_input(Bytes input) {
  std::string_view rest = as_text(input);
  const auto next = [&rest] {
    const std::string_view section = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), section.size() + 1));
    return section;
  };
  Sections sections;
  sections.files = next();
  sections.table = next();
  sections.data = rest;
  return sections;
}

/// "a,b,,c" -> a, b, empty, c; nothing of an empty text.
[[nodiscard]] inline std::vector<std::string_view> parted(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(text.size(), end + 1));
  }
  return parts;
}

}  // namespace ingot::fuzz
