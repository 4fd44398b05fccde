// What makes a later conversion the same as an interrupted one.
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <set>

#include "converters/conversion/journal.h"
#include "converters/conversion/staging.h"
#include "format/base/utf8.h"
#include "format/container/container.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kHeadBytes = std::size_t{64} << 10;

fs::path canonical_or_same(const fs::path& path) {
  std::error_code status;
  const fs::path canonical = fs::canonical(path, status);
  return status ? path : canonical;
}

/// For the journal, which is JSON: paths that are not UTF-8 are told apart by a hash.
std::string text_of(const fs::path& path) {
  const std::string& name = path.native();
  return is_utf8(name) ? name : to_valid_utf8(name) + " " + hash128(as_bytes_view(name)).hex();
}

/// The files that the model was read from, those of a directory with everything in it.
std::set<fs::path> source_files(const tensor::Model& model) {
  std::set<fs::path> files;
  if (model.path.empty()) return files;
  std::error_code status;
  const fs::path path = canonical_or_same(model.path);
  if (!fs::is_directory(path, status)) {
    files.insert(path);
    for (const fs::path& beside : files_of_model(path)) files.insert(beside);
    if (!model.source || model.source->layout != model.layout) return files;
    for (const tensor::SourceFile& file : model.source->files)
      if (fs::is_regular_file(path.parent_path() / file.path, status)) files.insert(path.parent_path() / file.path);
    return files;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(path, status))
    if (entry.is_regular_file(status) && !entry.path().filename().string().starts_with(".")) files.insert(entry.path());
  return files;
}

std::string head_hash(const fs::path& path) {
  std::string head(kHeadBytes, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(file.gcount()));
  return hash128(as_bytes_view(head)).hex();
}

/// In UTC, with all digits that the file system has.
std::string text_of(const timespec& time) {
  constexpr std::size_t kDigits = 9;
  std::tm fields{};
  char date[64];
  if (::gmtime_r(&time.tv_sec, &fields) == nullptr || std::strftime(date, sizeof date, "%F %T", &fields) == 0)
    return std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
  std::string fraction = std::to_string(time.tv_nsec);
  fraction.insert(0, kDigits - std::min(kDigits, fraction.size()), '0');
  return std::string(date) + "." + fraction + " UTC";
}

/// `removed`: the directory of what stands for files that were removed as they were converted.
Json source_json(const tensor::Model& model, const fs::path& removed) {
  Json files{JsonObject{}};
  std::set<fs::path> paths = source_files(model), names;
  std::error_code status;
  for (const fs::path& path : paths)
    if (fs::exists(path, status)) names.insert(path.filename());
  for (fs::recursive_directory_iterator entry(removed, status), end; entry != end; entry.increment(status))
    if (entry->is_regular_file(status) && !names.contains(entry->path().filename())) paths.insert(entry->path());
  for (const fs::path& path : paths) {
    Json file;
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) continue;  // gone: a difference too
    file.set("size", static_cast<std::int64_t>(facts.st_size));
    file.set("time of change", text_of(facts.st_mtim));
    file.set("first bytes", head_hash(path));
    files.set(text_of(path.filename()), std::move(file));
  }
  return files;
}

/// Names, schemes, sizes and classes of all tensors.
std::string forecast_hash(const tensor::Model& model, const Forecast& forecast) {
  std::string text;
  for (const tensor::Tensor& tensor : model.tensors) {
    text += tensor.name + '\n' + tensor::describe(tensor.scheme);
    for (const std::uint64_t extent : tensor.shape) text += ' ' + std::to_string(extent);
    text += tensor.fingerprint ? ' ' + tensor.fingerprint->hex() + '\n' : "\n";
  }
  for (const TensorOutcome& outcome : forecast.tensors) {
    text += outcome.name + '\n' + outcome.target_scheme + ' ' + std::to_string(outcome.target_bytes) + ' ' +
            std::string(name(outcome.forecast)) + '\n';
  }
  return hash128(as_bytes_view(text)).hex();
}

}  // namespace

Json identity_of(const tensor::Model& model, const ConvertOptions& options, const Forecast& forecast,
                 const fs::path& removed) {
  Json settings{JsonObject{}};
  for (const auto& [key, value] : options.write.settings) settings.set(key, value);
  Json identity;
  identity.set("ingot", INGOT_VERSION);
  identity.set("MODEL", model.path.empty() ? std::string() : text_of(canonical_or_same(model.path)));
  identity.set("--from", model.layout);
  identity.set("--to", options.to);
  identity.set("--scheme", options.write.scheme);
  identity.set("--keep", options.write.keep);
  identity.set("--quantize", options.write.quantize);
  identity.set("--drop", options.drop);
  identity.set("--compress", options.write.compress);
  identity.set("--allow", std::string(name(options.allow)));
  identity.set("--shard-size", options.write.shard_bytes);
  identity.set("--set", std::move(settings));
  identity.set("--recover", options.recover);
  identity.set("--trust-config", options.trust_config);
  identity.set("--part", options.write.part ? options.write.part->count : std::uint64_t{0});
  identity.set("source file", source_json(model, removed));
  identity.set("tensors", forecast_hash(model, forecast));
  return parse_json(canonical_json(identity), "identity");  // members in the order of a journal that is read
}

std::vector<fs::path> weight_files_of(const tensor::Model& model) {
  if (model.path.empty()) return {};
  std::error_code status;
  const fs::path path = canonical_or_same(model.path);
  const bool is_directory = fs::is_directory(path, status);
  std::vector<fs::path> files = files_of_model(path);
  if (!is_directory) files.push_back(path);
  if (!model.source || model.source->layout != model.layout) return files;
  for (const tensor::SourceFile& file : model.source->files) {
    const bool has_tensors =
        std::any_of(file.segments.begin(), file.segments.end(),
                    [](const tensor::Segment& segment) { return segment.kind == tensor::Segment::Kind::tensor; });
    fs::path place = (is_directory ? path : path.parent_path()) / file.path;
    if (has_tensors && fs::is_regular_file(place, status)) files.push_back(std::move(place));
  }
  return files;
}

std::vector<fs::path> files_of_model(const fs::path& output) {
  std::vector<fs::path> files;
  std::error_code status;
  const fs::path parent = output.has_parent_path() ? output.parent_path() : fs::path(".");
  if (fs::is_directory(output, status)) return files;
  if (const Layout* ingot = find_layout("ingot"); fs::exists(output, status) && ingot->detect(output)) {
    try {
      for (const container::SetMember& member : container::facts(output).members) files.push_back(parent / member.path);
    } catch (const Error&) {
      // A damaged file has no members that could be known.
    }
    return files;
  }
  // STEM-00001-of-00003.EXTENSION: the shards of a model that has no file under the name itself.
  const std::string stem = output.stem().string() + "-", extension = output.extension().string();
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, status)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(stem) || entry.path().extension() != extension || !entry.is_regular_file(status)) continue;
    const std::string numbers = entry.path().stem().string().substr(stem.size());
    constexpr std::string_view kForm = "00000-of-00000";
    bool is_shard = numbers.size() == kForm.size();
    for (std::size_t i = 0; is_shard && i < kForm.size(); ++i)
      is_shard = kForm[i] == '0' ? numbers[i] >= '0' && numbers[i] <= '9' : numbers[i] == kForm[i];
    if (is_shard) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace ingot::convert
