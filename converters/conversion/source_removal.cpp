#include "converters/conversion/source_removal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "converters/conversion/source_skeleton.h"
#include "converters/option_error.h"
#include "format/base/error.h"
#include "format/base/output_file.h"
#include "format/container/write_fault.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;
using tensor::Model;
using tensor::Segment;
using tensor::SourceFile;

/// Of all files together; a source whose packing differs more than that from the one that ingot knows is kept.
constexpr std::uint64_t kMaxPatchBytes = std::uint64_t{16} << 20;

[[noreturn]] void refuse(const Model& model, const std::string& why) {
  throw Error(ErrorKind::unsupported, model.path.string() + ": --delete-source-as-read: " + why);
}

std::set<std::string> tensors_of(const SourceFile& file) {
  std::set<std::string> names;
  for (const Segment& segment : file.segments)
    if (segment.kind == Segment::Kind::tensor) names.insert(segment.tensor);
  return names;
}

/// Removing one of several names, or a link, would free nothing or damage what others hold.
void require_plain_file(const Model& model, const fs::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;  // removed by an earlier run
  if (!S_ISREG(status.st_mode)) refuse(model, path.string() + " is no regular file (a link?)");
  if (status.st_nlink > 1) refuse(model, path.string() + " has other names (hard links)");
  if (::access(path.c_str(), W_OK) != 0 || ::access(path.parent_path().c_str(), W_OK) != 0)
    refuse(model, path.string() + " or its directory is write-protected");
}

std::string hex_of(Bytes bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

std::vector<std::byte> bytes_of_hex(std::string_view text) {
  const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
  return bytes;
}

Json proof_json(const TensorProof& proof) {
  Json json;
  json.set("name", proof.name);
  json.set("reached", std::string(name(proof.reached)));
  json.set("before", proof.before.hex());
  json.set("after", proof.after.hex());
  json.set("elements", proof.elements);
  return json;
}

TensorProof proof_of(const Json& json, std::string_view where) {
  TensorProof proof;
  proof.name = json.at("name", where).as_string(where);
  proof.before = Hash128::from_hex(json.at("before", where).as_string(where)).value_or(Hash128{});
  proof.after = Hash128::from_hex(json.at("after", where).as_string(where)).value_or(Hash128{});
  proof.elements = json.at("elements", where).as_u64(where);
  return proof;
}

constexpr std::string_view kPatches = "patches", kProofs = "proofs ";

void unlink_durably(const fs::path& path) {
  container::guarded_step();
  std::error_code status;
  if (!fs::remove(path, status) && status)
    throw Error(ErrorKind::io, path.string() + ": cannot remove: " + status.message());
  sync_directory_of(path);
}

/// The device of a path or of the nearest directory above it that exists.
std::optional<dev_t> device_of(fs::path path) {
  struct stat status {};
  while (::stat(path.c_str(), &status) != 0) {
    if (!path.has_relative_path()) return std::nullopt;
    path = path.has_parent_path() ? path.parent_path() : fs::path(".");
  }
  return status.st_dev;
}

}  // namespace

void require_removable(const Model& model, const ConvertOptions& options) {
  const Layout* target = find_layout(options.to);
  if (target == nullptr || !target->keeps_source)
    throw OptionError("--delete-source-as-read: only --to ingot; the .ingot can be converted further");
  if (!options.prove || !options.write.sync || options.write.part || options.recover)
    refuse(model,
           "not with --no-proof, --no-sync, --part or --recover: nothing is removed that is not proven and safe");
  if (!model.source || model.source->layout != model.layout)
    refuse(model, "the source is no checkpoint of safetensors, PyTorch or GGUF files");
  std::set<std::string> held;
  std::size_t weight_files = 0;
  for (const SourceFile& file : model.source->files) {
    const std::set<std::string> names = tensors_of(file);
    if (names.empty()) continue;
    ++weight_files;
    held.insert(names.begin(), names.end());
    require_plain_file(model, source_root(model.path) / file.path);
  }
  if (weight_files < 2) refuse(model, "the source is one file, which is needed to the end");
  for (const tensor::Tensor& tensor : model.tensors)
    if (!held.contains(tensor.name))
      refuse(model, "tensor '" + tensor.name + "' shares its bytes with others; no file can go before the end");
}

std::uint64_t disk_bytes_with_removal(const Model& model, const Forecast& forecast, std::uint64_t shard_bytes) {
  if (!model.source || shard_bytes == 0) return forecast.output_bytes;
  std::map<std::string, std::vector<std::size_t>> files_of;
  std::vector<std::size_t> waiting(model.source->files.size());
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const std::set<std::string> names = tensors_of(model.source->files[i]);
    waiting[i] = names.size();
    for (const std::string& tensor : names) files_of[tensor].push_back(i);
  }
  std::uint64_t written = 0, freed = 0, most = 0, in_file = 0;
  std::vector<std::string> names_in_file;
  const auto end_file = [&] {
    for (const std::string& tensor : std::exchange(names_in_file, {}))
      for (const std::size_t i : files_of[tensor])
        if (--waiting[i] == 0) freed += model.source->files[i].size;
    in_file = 0;
  };
  for (const TensorOutcome& outcome : forecast.tensors) {
    if (in_file > 0 && in_file + outcome.target_bytes > shard_bytes) end_file();
    in_file += outcome.target_bytes;
    written += outcome.target_bytes;
    names_in_file.push_back(outcome.name);
    most = std::max(most, written - std::min(written, freed));
  }
  end_file();
  const std::uint64_t rest = forecast.output_bytes - std::min(forecast.output_bytes, written);  // written at the end
  return std::max(most, forecast.output_bytes - std::min(forecast.output_bytes, freed)) + rest;
}

bool is_on_the_same_disk(const fs::path& one, const fs::path& other) { return device_of(one) == device_of(other); }

std::map<std::string, TensorProof> recorded_proofs(const ConversionJournal& journal) {
  std::map<std::string, TensorProof> proofs;
  for (const auto& [fact, value] : journal.facts()) {
    if (!fact.starts_with(kProofs)) continue;
    for (const Json& json : value.as_array(fact)) {
      TensorProof proof = proof_of(json, fact);
      proofs[proof.name] = std::move(proof);
    }
  }
  return proofs;
}

bool has_settled_patches(const ConversionJournal& journal) { return journal.facts().contains(std::string(kPatches)); }

void settle_patches(Model& model, ConversionJournal& journal, const std::function<void(Model&)>& find) {
  const auto known = journal.facts().find(std::string(kPatches));
  if (known != journal.facts().end()) {
    for (const Json& entry : known->second.as_array(kPatches)) {
      const auto owner =
          std::make_shared<const std::vector<std::byte>>(bytes_of_hex(entry.at("bytes", kPatches).as_string(kPatches)));
      const std::string& attachment = entry.at("attachment", kPatches).as_string(kPatches);
      SourceFile& file = model.source->files.at(entry.at("file", kPatches).as_u64(kPatches));
      for (const Json& run : entry.at("runs", kPatches).as_array(kPatches)) {
        const JsonArray& numbers = run.as_array(kPatches);
        file.patches.push_back({numbers.at(0).as_u64(kPatches), attachment, numbers.at(1).as_u64(kPatches),
                                numbers.at(2).as_u64(kPatches)});
      }
      model.attachments.push_back({attachment, Bytes(*owner), owner});
    }
    return;
  }
  find(model);
  Json entries(JsonArray{});
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < model.source->files.size(); ++i) {
    const SourceFile& file = model.source->files[i];
    if (file.patches.empty()) continue;
    const tensor::Attachment* attachment = model.find_attachment(file.patches.front().attachment);
    total += attachment->bytes.size();
    if (total > kMaxPatchBytes) refuse(model, "its files hold too much that packing does not give back");
    Json runs(JsonArray{});
    for (const SourceFile::Patch& patch : file.patches)
      runs.push_back(Json(JsonArray{Json(patch.offset), Json(patch.begin), Json(patch.size)}));
    Json entry;
    entry.set("file", static_cast<std::uint64_t>(i));
    entry.set("attachment", attachment->name);
    entry.set("bytes", hex_of(attachment->bytes));
    entry.set("runs", std::move(runs));
    entries.push_back(std::move(entry));
  }
  journal.record_fact(std::string(kPatches), std::move(entries));
}

SourceRemoval::SourceRemoval(const Model& model, const Staging& staging, ConversionJournal& journal,
                             PassingHashes& hashes, bool trust_config)
    : model_(model), staging_(staging), journal_(journal), hashes_(hashes), trust_config_(trust_config) {
  for (std::size_t i = 0; i < model.source->files.size(); ++i) {
    const SourceFile& file = model.source->files[i];
    std::set<std::string> names = tensors_of(file);
    const fs::path path = source_root(model.path) / file.path;
    std::error_code status;
    if (!names.empty() && fs::exists(path, status)) files_.push_back({i, path, std::move(names)});
  }
  sync_directory_of(staging.files());                  // the place,
  sync_directory_of(staging.removed().parent_path());  // and its name
}

void SourceRemoval::add_proofs(const fs::path& output_file, const std::vector<TensorProof>& proofs) {
  Json recorded(JsonArray{});
  for (const TensorProof& proof : proofs) {
    recorded.push_back(proof_json(proof));
    for (File& file : files_) file.waits_for.erase(proof.name);
  }
  journal_.record_fact(std::string(kProofs) + output_file.filename().string(), std::move(recorded));
  for (File& file : files_)
    if (!file.is_done && file.waits_for.empty()) remove(file);
}

void SourceRemoval::remove(File& file) {
  file.is_done = true;
  const SourceFile& source = model_.source->files[file.number];
  const Hash128 hash = source.hash != Hash128{} ? source.hash : hashes_.finish(file.number);
  journal_.record_fact(removal_fact(source.path), hash.hex());
  const fs::path skeleton = staging_.removed() / source.path;
  const std::vector<FileRange> holes = large_tensors(source);
  write_skeleton(file.path, skeleton, staging_.removed().parent_path() / "skeleton", holes);
  if (!opens_to_the_same_model(file)) {
    unlink_durably(skeleton);
    std::error_code ignored;
    fs::remove(staging_.removed(), ignored);  // unless others are there
    return;
  }
  const int descriptor = ::open(file.path.c_str(), O_RDWR | O_CLOEXEC);
  unlink_durably(file.path);
  // A file that is mapped keeps its blocks until the program ends. What the holes cover is read no more.
  for (const FileRange& hole : holes)
    (void)::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(hole.begin),
                      static_cast<off_t>(hole.size));
  ::close(descriptor);
}

bool SourceRemoval::opens_to_the_same_model(const File& file) const {
  try {
    const std::string& name = model_.source->files[file.number].path;
    return describes_the_same(model_, rehearse(model_, staging_, name, trust_config_));
  } catch (const Error&) {
    return false;
  }
}

void remove_rest_of_source(const Model& model) {
  const fs::path root = source_root(model.path);
  std::set<fs::path> directories;
  std::error_code ignored;
  for (const SourceFile& file : model.source->files) {
    fs::remove(root / file.path, ignored);
    for (fs::path parent = (root / file.path).parent_path(); parent != root; parent = parent.parent_path())
      directories.insert(parent);
  }
  if (fs::is_directory(model.path, ignored)) directories.insert(root);
  for (auto directory = directories.rbegin(); directory != directories.rend(); ++directory)
    if (fs::is_empty(*directory, ignored)) fs::remove(*directory, ignored);
}

}  // namespace ingot::convert
