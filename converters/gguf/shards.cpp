// Names of shards: `<prefix>-00001-of-00003.gguf`.
#include "converters/gguf/shards.h"

#include <algorithm>
#include <cstdio>
#include <set>

namespace ingot::convert::gguf {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigits = 5;
constexpr std::string_view kExtension = ".gguf", kOf = "-of-";

bool all_digits(std::string_view text) { return text.find_first_not_of("0123456789") == std::string_view::npos; }

}  // namespace

std::optional<ShardName> parse_shard_name(std::string_view file_name) {
  // prefix - ddddd -of- ddddd .gguf
  constexpr std::size_t kTail = 1 + kDigits + kOf.size() + kDigits + kExtension.size();
  if (file_name.size() <= kTail || !file_name.ends_with(kExtension)) return std::nullopt;
  const std::string_view tail = file_name.substr(file_name.size() - kTail);
  const std::string_view number = tail.substr(1, kDigits), count = tail.substr(1 + kDigits + kOf.size(), kDigits);
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf || !all_digits(number) || !all_digits(count))
    return std::nullopt;
  ShardName result;
  result.prefix = file_name.substr(0, file_name.size() - kTail);
  result.number = static_cast<std::uint32_t>(std::stoul(std::string(number)));
  result.count = static_cast<std::uint32_t>(std::stoul(std::string(count)));
  if (result.number < 1 || result.number > result.count) return std::nullopt;
  return result;
}

std::string shard_file_name(std::string_view prefix, std::uint32_t number, std::uint32_t count) {
  char tail[32];
  std::snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", number, count);
  return std::string(prefix) + tail;
}

namespace {

std::vector<fs::path> siblings(const fs::path& file, const ShardName& shard) {
  std::vector<fs::path> result;
  std::string missing;
  for (std::uint32_t number = 1; number <= shard.count; ++number) {
    result.push_back(file.parent_path() / shard_file_name(shard.prefix, number, shard.count));
    std::error_code status;
    if (!fs::is_regular_file(result.back(), status))
      missing += (missing.empty() ? "" : ", ") + result.back().filename().string();
  }
  if (!missing.empty()) throw Error(ErrorKind::io, file.string() + ": shards are missing: " + missing);
  return result;
}

fs::path only_model_of(const fs::path& directory) {
  std::set<std::string> models;
  fs::path found;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(kExtension) || !entry.is_regular_file()) continue;
    const auto shard = parse_shard_name(name);
    models.insert(shard ? std::string(shard->prefix) + "-*" : name);
    found = entry.path();
  }
  if (models.empty()) throw Error(ErrorKind::io, directory.string() + ": holds no .gguf file");
  if (models.size() > 1) {
    throw Error(ErrorKind::invalid_value, directory.string() + ": holds several GGUF models (" + *models.begin() +
                                              ", " + *models.rbegin() + ", ...); name the file");
  }
  return found;
}

}  // namespace

std::vector<fs::path> shard_paths(const fs::path& path) {
  std::error_code status;
  const fs::path file = fs::is_directory(path, status) ? only_model_of(path) : path;
  const std::string name = file.filename().string();
  const auto shard = parse_shard_name(name);
  if (!shard) return {file};
  return siblings(file, *shard);
}

}  // namespace ingot::convert::gguf
