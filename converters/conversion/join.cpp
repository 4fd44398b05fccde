// `join`: the parts of a conversion become its output. The source is opened again: headers, indexes and the proof need
// it.
#include "converters/conversion/convert_into.h"
#include "converters/conversion/journal.h"
#include "converters/dropped_tensors.h"
#include "format/base/error.h"

namespace ingot::convert {
namespace {

namespace fs = std::filesystem;

struct Parts {
  std::vector<fs::path> journals;
  Json identity;
};

/// Throws io naming the parts that are missing or unfinished.
Parts complete_parts(const Staging& staging, const fs::path& output) {
  const std::vector<std::pair<Part, fs::path>> found = staging.part_journals();
  if (found.empty())
    throw Error(ErrorKind::io, output.string() + ": no parts of it are here (convert --part I/N makes them)");
  Parts parts;
  std::string missing;
  std::uint64_t number = 1;
  const std::uint64_t count = found.front().first.count;
  const auto add_missing = [&](std::string_view why) {
    missing += (missing.empty() ? "" : ", ") + std::to_string(number) + "/" + std::to_string(count) + std::string(why);
  };
  for (const auto& [part, path] : found) {
    if (part.count != count) {
      throw Error(ErrorKind::mismatch, output.string() + ": parts of " + std::to_string(count) + " and of " +
                                           std::to_string(part.count) +
                                           " lie together: " + found.front().second.string() + ", " + path.string());
    }
    for (; number < part.number; ++number) add_missing("");
    const JournalContent content = read_journal(path);
    if (content.identity.is_null() || !content.has_end) add_missing(" (not finished)");
    number = part.number + 1;
    parts.journals.push_back(path);
    if (parts.identity.is_null()) parts.identity = content.identity;
  }
  for (; number <= count && number <= found.back().first.number + 1000; ++number) add_missing("");
  if (!missing.empty()) throw Error(ErrorKind::io, output.string() + ": parts are missing: " + missing);
  return parts;
}

ConvertOptions recorded_options(const Json& identity, const ConvertOptions& wanted, const std::string& where) {
  const auto text = [&](std::string_view name) { return identity.at(name, where).as_string(where); };
  ConvertOptions options = wanted;
  options.from = text("--from");
  options.to = text("--to");
  options.write.scheme = text("--scheme");
  options.write.keep = text("--keep");
  options.write.quantize = text("--quantize");
  options.drop = text("--drop");
  options.write.compress = identity.at("--compress", where).as_bool(where);
  options.write.shard_bytes = identity.at("--shard-size", where).as_u64(where);
  options.write.part = Part{1, identity.at("--part", where).as_u64(where)};
  options.recover = identity.at("--recover", where).as_bool(where);
  options.trust_config = identity.at("--trust-config", where).as_bool(where);
  for (const ProofClass value : {ProofClass::exact, ProofClass::codes, ProofClass::requantized})
    if (text("--allow") == name(value)) options.allow = value;
  for (const auto& [key, value] : identity.at("--set", where).as_object(where))
    options.write.settings[key] = value.as_string(where);
  options.resume = true;
  return options;
}

}  // namespace

ConversionReport join(const fs::path& output, const ConvertOptions& wanted) {
  std::error_code status;
  if (!fs::exists(Staging::place_of(output), status))
    throw Error(ErrorKind::io, output.string() + ": no parts of it are here (convert --part I/N makes them)");
  Staging staging(output, {wanted.overwrite, true, std::nullopt, true});
  staging.keep();  // parts are not thrown away because one is missing
  const Parts parts = complete_parts(staging, output);
  ConvertOptions options = recorded_options(parts.identity, wanted, output.string());
  const fs::path source = parts.identity.at("MODEL", output.string()).as_string(output.string());
  if (!fs::exists(source, status))
    throw Error(ErrorKind::io, source.string() + ": the source of the parts is not there, and joining needs it");
  tensor::Model model = read_model(source, options.from, {options.write.progress, options.trust_config});
  drop_tensors(model, options);
  ConversionReport report = convert_into(model, output, options, parts.journals, &staging);
  staging.discard();
  return report;
}

}  // namespace ingot::convert
