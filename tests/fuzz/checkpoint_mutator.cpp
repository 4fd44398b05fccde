// Mutations that keep the framing of checkpoint_input.h: one section at a time, tensors by line, JSON by token; half of
// them plain bytes.
#include <array>
#include <random>

#include "checkpoint_input.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using ingot::fuzz::parted;
using Random = std::minstd_rand;

constexpr std::array<std::string_view, 22> kTypes = {
    "BOOL", "F4",  "F6_E2M3", "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
    "I16",  "U16", "F16",     "BF16",    "I32", "U32", "F32",     "C64",     "F64",     "I64",         "U64"};
constexpr std::array<std::string_view, 18> kExtents = {
    "0",  "1",  "2",  "3",  "4",   "5",   "7",          "8",          "15",
    "16", "17", "32", "64", "127", "128", "4294967296", "2147483648", "9223372036854775807"};
constexpr std::array<std::string_view, 24> kWords = {
    "0",     "1",       "2",        "3",    "4",    "5",     "6",
    "7",     "8",       "16",       "32",   "64",   "128",   "-1",
    "null",  "{}",      "[]",       "\"\"", "true", "false", "18446744073709551615",
    "1e308", "\"int\"", "\"float\""};

std::size_t below(Random& random, std::size_t count) { return count == 0 ? 0 : random() % count; }

std::string mutated_bytes(std::string text, std::size_t room) {
  const std::size_t size = text.size();
  text.resize(size + room);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, text.size()));
  return text;
}

/// A token of JSON (a number, a word, a string) becomes another, mostly one of the same text.
std::string mutated_json(std::string text, Random& random) {
  std::vector<std::pair<std::size_t, std::size_t>> tokens;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] == '"') {
      end = std::min(text.find('"', end), text.size() - 1) + 1;
    } else if (std::string_view("{}[],: \n\r\t\1").find(text[at]) != std::string_view::npos) {
      at = end;
      continue;
    } else {
      end = std::min(text.find_first_of("{}[],: \n\r\t\1\"", end), text.size());
    }
    tokens.emplace_back(at, end - at);
    at = end;
  }
  if (tokens.empty()) return text;
  const auto [begin, size] = tokens[below(random, tokens.size())];
  const auto [from, count] = tokens[below(random, tokens.size())];
  const std::string other =
      random() % 2 == 0 ? text.substr(from, count) : std::string(kWords[below(random, kWords.size())]);
  return text.replace(begin, size, other);
}

std::string mutated_line(std::string_view line, Random& random) {
  std::vector<std::string_view> fields = parted(line, '\t');
  if (fields.size() < 3) return std::string(line);
  std::string shape;
  switch (random() % 3) {
    case 0: fields[1] = kTypes[below(random, kTypes.size())]; break;
    default:
      std::vector<std::string_view> extents = parted(fields[2], ',');
      const std::size_t chosen = below(random, extents.size() + 1);
      if (chosen == extents.size()) {
        extents.push_back(kExtents[below(random, kExtents.size())]);
      } else if (random() % 8 == 0) {
        extents.erase(extents.begin() + static_cast<std::ptrdiff_t>(chosen));
      } else {
        extents[chosen] = kExtents[below(random, kExtents.size())];
      }
      for (const std::string_view extent : extents) shape += (shape.empty() ? "" : ",") + std::string(extent);
      fields[2] = shape;
  }
  return std::string(fields[0]) + '\t' + std::string(fields[1]) + '\t' + std::string(fields[2]);
}

std::string mutated_table(std::string_view table, Random& random) {
  std::vector<std::string> lines;
  for (const std::string_view line : ingot::fuzz::parted(table, '\n')) lines.emplace_back(line);
  if (lines.empty()) return std::string(table);
  const std::size_t chosen = below(random, lines.size());
  const auto place = lines.begin() + static_cast<std::ptrdiff_t>(chosen);
  switch (random() % 8) {
    case 0: lines.erase(place); break;
    case 1: lines.insert(place, mutated_line(lines[below(random, lines.size())], random)); break;
    case 2: std::swap(lines[chosen], lines[below(random, lines.size())]); break;
    default: *place = mutated_line(*place, random);
  }
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  Random random(seed);
  const ingot::fuzz::Sections input = ingot::fuzz::split_input(std::as_bytes(std::span(data, size)));
  std::string files(input.files), table(input.table), content(input.data);
  const std::size_t room = std::min<std::size_t>(64, max_size - size);
  switch (random() % 10) {
    case 0: return LLVMFuzzerMutate(data, size, max_size);
    case 1: content = mutated_bytes(content, room); break;
    case 2: files = mutated_bytes(files, room); break;
    case 3: table = mutated_bytes(table, room); break;
    case 4:
    case 5:
    case 6: files = mutated_json(files, random); break;
    default: table = mutated_table(table, random);
  }
  const std::string result = files + '\0' + table + '\0' + content;
  if (result.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(result.begin(), result.end(), reinterpret_cast<char*>(data));
  return result.size();
}
