// The choice among several files follows transformers: model.safetensors, then its index, then an adapter's file, then
// a lone or numbered set of .safetensors; then the same for pytorch_model.bin and files of torch.save.
#include "converters/hf/directory.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "format/base/json.h"
#include "format/base/relative_path.h"
#include "format/base/utf8.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{256} << 20;
constexpr std::size_t kMaxFiles = 65'536;  // attachments and source files of an .ingot
/// An adapter of PEFT has no index and may lie beside other safetensors files (optimizer states, embeddings).
constexpr std::string_view kAdapterConfig = "adapter_config.json";
constexpr std::array<std::string_view, 2> kAdapterFiles = {"adapter_model.safetensors", "adapter_model.bin"};
constexpr std::size_t kMaxPathBytes = 4'000;  // with the prefix "hf/" below the limit of attachment names

/// Files that trainers leave beside the weights, in the same format.
constexpr std::array<std::string_view, 5> kTrainingFiles = {"training_args.bin", "optimizer.pt", "optimizer.bin",
                                                            "scheduler.pt", "rng_state.pth"};

/// "x-00002-of-00003.safetensors" -> the names of all three; empty when the name has no such numbers.
std::vector<std::string> numbered_set(const std::string& name) {
  const std::string ending = fs::path(name).extension().string();
  constexpr std::size_t kNumbersBytes = 14;  // "00002-of-00003"
  if (name.size() < ending.size() + kNumbersBytes + 1) return {};
  const std::size_t at = name.size() - ending.size() - kNumbersBytes;
  const std::string numbers = name.substr(at, kNumbersBytes);
  const auto is_number = [&](std::size_t begin) {
    return std::all_of(numbers.begin() + static_cast<std::ptrdiff_t>(begin),
                       numbers.begin() + static_cast<std::ptrdiff_t>(begin) + 5,
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!is_number(0) || numbers.substr(5, 4) != "-of-" || !is_number(9)) return {};
  std::vector<std::string> names;
  const int count = std::stoi(numbers.substr(9));
  for (int i = 1; i <= count; ++i) {
    const std::string number = std::to_string(i);
    names.push_back(name.substr(0, at) + std::string(5 - number.size(), '0') + number + "-of-" + numbers.substr(9) +
                    ending);
  }
  return names;
}

/// Files of one of these endings, sorted; those that trainers leave are left out.
std::vector<std::string> files_ending(const fs::path& directory, std::initializer_list<std::string_view> endings) {
  std::vector<std::string> names;
  std::error_code status;
  for (fs::directory_iterator entry(directory, status), end; !status && entry != end; entry.increment(status)) {
    const std::string name = entry->path().filename().string(), ending = entry->path().extension().string();
    if (std::find(endings.begin(), endings.end(), ending) != endings.end() && entry->is_regular_file(status) &&
        std::find(kTrainingFiles.begin(), kTrainingFiles.end(), name) == kTrainingFiles.end())
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// One file, or one complete numbered set; empty when that is not clear.
std::vector<std::string> lone_or_numbered(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  const std::vector<std::string> set = numbered_set(names.front());
  if (!set.empty()) return set == names ? set : std::vector<std::string>{};
  return names.size() == 1 ? names : std::vector<std::string>{};
}

/// The adapter's own file, where there is one.
std::vector<std::string> adapter_weights(const fs::path& directory) {
  std::error_code status;
  if (!fs::is_regular_file(directory / kAdapterConfig, status)) return {};
  for (const std::string_view name : kAdapterFiles)
    if (fs::is_regular_file(directory / name, status)) return {std::string(name)};
  return {};
}

/// Without a file of a customary name and without an index: what is clearly the weights.
std::vector<std::string> unindexed_weights(const fs::path& directory) {
  std::vector<std::string> names = adapter_weights(directory);
  if (names.empty()) names = lone_or_numbered(files_ending(directory, {".safetensors"}));
  if (!names.empty()) return names;
  names = files_ending(directory, {".bin", ".pt", ".pth"});
  std::erase_if(names, [&](const std::string& name) { return !is_weight_file(directory / name); });
  return lone_or_numbered(names);
}

/// weight_map: tensor name -> file name, checked.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const std::string where = path.string();
  const Json json = parse_json(read_text_file(path, kMaxIndexBytes), where);
  std::map<std::string, std::string> owners;
  for (const auto& [tensor, file] : json.at("weight_map", where).as_object(where + ": weight_map")) {
    const std::string& name = file.as_string(where + ": weight_map");
    if (!relative_path_fault(name).empty()) {
      throw Error(ErrorKind::invalid_value,
                  where + ": weight_map: '" + name + "' is no file name inside the checkpoint");
    }
    owners.emplace(tensor, name);
  }
  if (owners.empty()) throw Error(ErrorKind::invalid_value, where + ": weight_map is empty");
  return owners;
}

/// Where the weights are said to be.
struct WeightPlan {
  std::set<std::string> names;
  std::string index_name;                    // empty: there is no index
  std::map<std::string, std::string> index;  // tensor -> file
};

WeightPlan plan_weights(const fs::path& path) {
  WeightPlan plan;
  std::error_code status;
  for (const auto& [file, index] : {std::pair{kSafetensorsFile, kSafetensorsIndex}, {kTorchFile, kTorchIndex}}) {
    if (fs::is_regular_file(path / file, status)) {
      plan.names.emplace(file);
    } else if (fs::is_regular_file(path / index, status)) {
      plan.index_name = index;
      plan.index = read_index(path / index);
      for (const auto& [tensor, shard] : plan.index) plan.names.insert(shard);
    } else if (file == kSafetensorsFile) {
      std::vector<std::string> found = adapter_weights(path);
      if (found.empty()) found = lone_or_numbered(files_ending(path, {".safetensors"}));
      plan.names.insert(found.begin(), found.end());
    }
    if (!plan.names.empty()) return plan;
  }
  const std::vector<std::string> found = unindexed_weights(path);
  plan.names.insert(found.begin(), found.end());
  return plan;
}

void check_owners(const HfDirectory& directory, const WeightPlan& plan) {
  std::map<std::string_view, std::string_view> found;
  for (const WeightFile& file : directory.weights) {
    for (const WeightEntry& entry : file.entries) {
      const auto [place, added] = found.emplace(entry.name, file.path);
      if (!added) {
        throw Error(ErrorKind::mismatch, (directory.root / file.path).string() + ": tensor '" + entry.name +
                                             "' is also in " + std::string(place->second));
      }
    }
  }
  for (const auto& [tensor, file] : plan.index) {
    const auto place = found.find(tensor);
    if (place == found.end() || place->second != file) {
      throw Error(ErrorKind::mismatch, (directory.root / plan.index_name).string() + ": tensor '" + tensor +
                                           "' should be in " + file + ", found " +
                                           (place == found.end() ? "nowhere" : "in " + std::string(place->second)));
    }
  }
}

bool can_be_named(const std::string& name) {
  return relative_path_fault(name).empty() && name.size() <= kMaxPathBytes && is_utf8(name);
}

/// Version control keeps its own copies of the weights; it is no part of the checkpoint.
bool is_version_control(const fs::path& path) { return path.filename() == ".git"; }

/// Below the root of the checkpoint, with the directories in it. Throws io naming the directory that cannot be listed.
std::vector<fs::directory_entry> all_entries(const fs::path& root) {
  std::vector<fs::directory_entry> entries;
  std::error_code status;
  fs::path listed = root;
  fs::recursive_directory_iterator entry(root, status);
  while (!status && entry != fs::recursive_directory_iterator()) {
    listed = entry->path();
    std::error_code ignored;
    if (is_version_control(listed) && entry->is_directory(ignored)) entry.disable_recursion_pending();
    entries.push_back(*entry);
    entry.increment(status);
  }
  if (status) throw Error(ErrorKind::io, listed.string() + ": cannot list: " + status.message());
  return entries;
}

void list_others(HfDirectory& directory) {
  std::set<std::string> weights;
  for (const WeightFile& file : directory.weights) weights.insert(file.path);
  std::set<std::string> empty;
  for (const fs::directory_entry& entry : all_entries(directory.root)) {
    const std::string name = entry.path().lexically_relative(directory.root).generic_string();
    std::error_code status;
    if (is_version_control(entry.path())) {
      directory.not_restorable.push_back(name);
      continue;
    }
    if (entry.is_directory(status)) {
      if (entry.is_symlink(status) || fs::is_empty(entry.path(), status)) empty.insert(name);
      continue;
    }
    if (weights.contains(name)) continue;
    if (!entry.is_regular_file(status) || !can_be_named(name)) {
      directory.not_restorable.push_back(name);
      continue;
    }
    directory.others.push_back(name);
    if (directory.others.size() + directory.weights.size() > kMaxFiles) {
      throw Error(ErrorKind::limit_exceeded,
                  directory.root.string() + ": more than " + std::to_string(kMaxFiles) + " files");
    }
  }
  directory.not_restorable.insert(directory.not_restorable.end(), empty.begin(), empty.end());
  std::sort(directory.others.begin(), directory.others.end());
  std::sort(directory.not_restorable.begin(), directory.not_restorable.end());
}

}  // namespace

bool has_weights(const fs::path& path) noexcept {
  try {
    std::error_code status;
    if (!fs::is_directory(path, status)) return is_weight_file(path);
    if (is_safetensors_file(path / kSafetensorsFile)) return true;
    for (const std::string_view name : {kSafetensorsIndex, kTorchFile, kTorchIndex})
      if (fs::is_regular_file(path / name, status)) return true;
    const std::vector<std::string> names = unindexed_weights(path);
    return !names.empty() && is_weight_file(path / names.front());
  } catch (const std::exception&) {
    return false;
  }
}

HfDirectory open_hf_directory(const fs::path& path) {
  HfDirectory directory;
  std::error_code status;
  WeightPlan plan;
  const bool single = !fs::is_directory(path, status);
  if (single) {
    directory.root = path.parent_path();  // empty: names in messages stay as they were given
    plan.names.insert(path.filename().string());
  } else {
    directory.root = path;
    plan = plan_weights(path);
  }
  if (plan.names.empty()) {
    throw Error(ErrorKind::unsupported, path.string() + ": no " + std::string(kSafetensorsFile) + ", no " +
                                            std::string(kSafetensorsIndex) +
                                            ", no single or complete numbered set of .safetensors files, and none of " +
                                            std::string(kTorchFile) + ", its index, or one other file of torch.save");
  }
  for (const std::string& name : plan.names) directory.weights.push_back(open_weight_file(directory.root, name));
  check_owners(directory, plan);
  if (single) return directory;
  list_others(directory);
  return directory;
}

}  // namespace ingot::convert
