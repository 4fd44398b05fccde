#include "converters/layouts/gptq_read.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "converters/layouts/gptq_module.h"
#include "converters/layouts/gptq_zero_evidence.h"
#include "format/base/parallel.h"

namespace ingot::convert::gptq {
namespace {

using Stored = HfCheckpoint::Stored;
using tensor::DType;

constexpr DType kCodeTypes[] = {DType::u8, DType::u8, DType::u2, DType::u3, DType::u4,
                                DType::u5, DType::u6, DType::u7, DType::u8};

// --- Zero points: what the label says and what the data shows --------------------------------------------------------
struct Votes {
  std::uint64_t v1 = 0, v2 = 0;  // symmetric modules whose fields are all 2^(bits-1) - 1, or all 2^(bits-1)
};

bool votes_v1(const Module& module) { return module.config.sym && module.evidence.all_below_middle; }
bool votes_v2(const Module& module) { return module.config.sym && module.evidence.all_middle; }

std::string stored_zero(const Module& module, bool v1) {
  return std::to_string((1u << (module.bits - 1)) - (v1 ? 1u : 0u));
}

void find_varying(const std::vector<Module>& modules, FindingList& findings) {
  for (const Module& module : modules) {
    if (module.parts.marlin_names || !module.config.says_sym || votes_v1(module) || votes_v2(module)) continue;
    findings.add("the config says sym, qzeros are not the constant of symmetric quantization", module.parts.name);
  }
}

std::string text_of(const CodeEvidence& evidence) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.2f (+- %.2f)", evidence.distance, evidence.error);
  return "codes lie " + std::string(text.data()) +
         " above the stored zero points on average, as weights around zero do in " +
         (evidence.says_minus_one().value_or(true) ? "gptq (stored as zero - 1)" : "gptq_v2 (stored as it is)");
}

/// How zero points are stored in modules that do not show it by being symmetric.
class Undecided {
 public:
  Undecided(const std::vector<Module>& modules, const Config& config, const ReadOptions& options)
      : config_(config), options_(options) {
    for (const Module& module : modules)
      if (!module.parts.marlin_names && !module.planar && !votes_v1(module) && !votes_v2(module))
        modules_.push_back(&module);
    if (!modules_.empty()) evidence_ = look_at_codes(modules_);
  }

  /// `label`: what the config and the symmetric modules say; nothing: they contradict each other, or there is neither.
  /// Throws mismatch where nothing decides.
  [[nodiscard]] bool stored_minus_one(std::optional<bool> label, const std::string& why, const HfCheckpoint& checkpoint,
                                      FindingList& findings) const {
    const bool labelled = config_.label() == ZeroLabel::v1;
    if (modules_.empty()) return label.value_or(labelled);
    const std::string& first = modules_.front()->parts.name;
    const std::optional<bool> shown = evidence_.says_minus_one();
    if (options_.trust_config) {
      if (shown && *shown != labelled)
        findings.add(text_of(evidence_) + "; read as labelled, because --trust-config was given", first);
      return labelled;
    }
    if (!label && !shown) {
      throw Error(ErrorKind::mismatch, checkpoint.where() + ": tensor '" + first + ".qzeros': " + why +
                                           ", and the codes do not tell (convert --trust-config takes " +
                                           (labelled ? "gptq" : "gptq_v2") + ")");
    }
    if (shown && (!label || *shown != *label)) {
      findings.add(
          (label ? "checkpoint_format is " + config_.label_word() + ", but " : why + ": read by the evidence that ") +
              text_of(evidence_) + (label ? "; read by this evidence" : ""),
          first);
      return *shown;
    }
    return *label;
  }

 private:
  const Config& config_;
  const ReadOptions& options_;
  std::vector<const Module*> modules_;
  CodeEvidence evidence_;
};

/// The meaning of all modules' zero points but planar ones.
void decide_coding(std::vector<Module>& modules, const Config& config, const HfCheckpoint& checkpoint,
                   const ReadOptions& options, FindingList& findings) {
  Votes votes;
  for (const Module& module : modules) {
    if (module.parts.marlin_names || module.planar) continue;
    votes.v1 += votes_v1(module) ? 1 : 0;
    votes.v2 += votes_v2(module) ? 1 : 0;
  }
  const bool labelled_v1 = config.label() == ZeroLabel::v1;
  const std::uint64_t against = labelled_v1 ? votes.v2 : votes.v1, in_favour = labelled_v1 ? votes.v1 : votes.v2;
  std::optional<bool> label = against > 0 ? !labelled_v1 : labelled_v1;
  std::string why;
  if (!config.is_present() && against + in_favour == 0) {
    label.reset();
    why = "no quantization config says whether zero points are stored as gptq does (zero - 1) or as gptq_v2 does";
  } else if (against > 0 && in_favour > 0) {
    label.reset();
    why = "checkpoint_format " + config.label_word() + ", but of the symmetric modules " + std::to_string(votes.v1) +
          " store zero points as gptq does (zero - 1) and " + std::to_string(votes.v2) + " as gptq_v2 does";
  }
  const bool others_v1 = Undecided(modules, config, options).stored_minus_one(label, why, checkpoint, findings);
  for (Module& module : modules) {
    if (module.parts.marlin_names) continue;
    const bool own = votes_v1(module) || votes_v2(module);
    const bool v1 = own && !options.trust_config ? votes_v1(module) : own ? labelled_v1 : others_v1;
    if (own && votes_v1(module) != labelled_v1 && !module.planar) {
      findings.add("checkpoint_format is " + config.label_word() + ", but all qzeros are " +
                       stored_zero(module, votes_v1(module)) + ", the symmetric zero point of " +
                       (votes_v1(module) ? "gptq (stored as zero - 1)" : "gptq_v2 (stored as it is)") +
                       (options.trust_config ? "; read as labelled, because --trust-config was given"
                                             : "; read by this evidence"),
                   module.parts.name);
    }
    module.coding = module.planar ? ZeroCoding::planar : v1 ? ZeroCoding::minus_one : ZeroCoding::plain;
  }
}

/// A v1 zero point of 0 has three spellings; two of them can be told from each other only by who wrote the file.
void decide_spelling(std::vector<Module>& modules, const Config& config, FindingList& findings) {
  for (Module& module : modules) {
    if (module.parts.marlin_names || module.coding != ZeroCoding::minus_one || module.evidence.all_ones == 0) continue;
    if (!module.evidence.spellings_differ) {
      findings.add("zero points of 0 in checkpoint_format gptq: stored as -1; some programs read them as 2^bits",
                   module.parts.name);
      continue;
    }
    if (config.subtracts_words()) module.coding = ZeroCoding::minus_one_words;
    findings.add(
        std::string("zero points of 0 in checkpoint_format gptq spoil their neighbours in a word: read ") +
            (config.subtracts_words() ? "as GPTQModel >= 0.9 writes them (one taken from whole words)"
                                      : "field by field, since meta names no GPTQModel >= 0.9; if AutoGPTQ wrote "
                                        "the file, the fields above such a zero point are lost"),
        module.parts.name);
  }
}

// --- Tensors ---------------------------------------------------------------------------------------------------------
std::string words_suffix(const Module& module) {
  return module.word_bits == 32 ? std::string() : ".i" + std::to_string(module.word_bits);
}

std::string zeros_part(const Module& module) {
  constexpr std::string_view kWords[] = {"qzeros.v1", "qzeros.v1_words", "qzeros.v2", "qzeros.planar"};
  return std::string(kWords[static_cast<std::size_t>(module.coding)]) + words_suffix(module);
}

tensor::Scheme scheme_of(const Module& module) {
  tensor::Scheme scheme;
  scheme.codes.type = kCodeTypes[module.bits];
  const tensor::Block block{1, module.block_cols};
  scheme.scales = {{.type = module.parts.scales->type(), .block = block}};
  scheme.order = module.order;
  if (module.parts.marlin_names) {
    scheme.offset.kind = tensor::OffsetKind::zero;
    scheme.offset.zero = 8;
  } else {
    scheme.offset.kind = tensor::OffsetKind::zero_points;
    scheme.offset.levels = {{.type = DType::u8, .block = block}};
  }
  return scheme;
}

void load_with(LinearParts& parts, const Module& module) {
  const std::byte* codes = module.parts.codes->bytes().data();
  const std::byte* scales = module.parts.scales->bytes().data();
  const std::uint64_t scale_bytes = tensor::bits(module.parts.scales->type()) / 8;
  if (module.parts.marlin_names) {
    const MarlinWords words{codes, module.inputs, module.outputs};
    parts.load_lines = [words](std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride) {
      words.load(begin, end, lines, stride);
    };
    const MarlinScales rows{scales, module.groups, module.outputs, scale_bytes};
    parts.load_scales = [rows](std::uint64_t tile, std::byte* out) { rows.load(tile, out); };
    return;
  }
  const CodeWords words{codes, module.inputs, module.outputs, module.bits, module.word_bits, module.planar};
  parts.load_lines = [words](std::uint64_t begin, std::uint64_t end, std::byte* lines, std::uint64_t stride) {
    words.load(begin, end, lines, stride);
  };
  const GroupRows rows{scales, module.groups, module.outputs, scale_bytes};
  parts.load_scales = [rows](std::uint64_t tile, std::byte* out) { rows.load(tile, out); };
  const ZeroWords zeros = zero_words(module);
  parts.load_offsets = [zeros](std::uint64_t tile, std::byte* out) { zeros.load(tile, out); };
}

CodedTensor coded_tensor(Module& module) {
  CodedTensor coded;
  coded.tensor.name = module.parts.name + ".weight";
  coded.tensor.shape = {module.outputs, module.inputs};
  coded.tensor.scheme = scheme_of(module);
  coded.tensor.packing = tensor::canonical_packing(coded.tensor.shape, coded.tensor.scheme);
  const bool marlin = module.parts.marlin_names;
  coded.parts.push_back({module.parts.codes->name(), marlin          ? "qweight.marlin"
                                                     : module.planar ? "qweight.planar" + words_suffix(module)
                                                                     : "qweight" + words_suffix(module)});
  if (module.parts.zeros != nullptr) coded.parts.push_back({module.parts.zeros->name(), zeros_part(module)});
  coded.parts.push_back({module.parts.scales->name(), marlin ? "scales.marlin" : "scales"});
  if (module.parts.group_index != nullptr)
    coded.parts.push_back({module.parts.group_index->name(), module.index_is_implied ? "g_idx" : ""});
  LinearParts parts;
  load_with(parts, module);
  parts.order = std::move(module.order_plane);
  for (const Stored* stored : {module.parts.codes, module.parts.scales, module.parts.zeros}) {
    if (stored == nullptr) continue;
    parts.files.push_back(stored->file->mapping);
    parts.ranges.push_back(stored->bytes());
  }
  coded.tensor.planes = linear_planes(coded.tensor, std::move(parts));
  return coded;
}

}  // namespace

CodedTensors read(const HfCheckpoint& checkpoint, const ReadOptions& options) {
  const Config config(checkpoint.quantization(), checkpoint.where() + " quantization config");
  FindingList findings;
  for (const std::string& pattern : config.odd_patterns())
    findings.add("dynamic pattern \"" + pattern + "\" is not understood: sizes are taken from the tensors", "");
  std::vector<Module> modules;
  for (const LinearModule& parts : linear_modules(checkpoint))
    modules.push_back(inspect_module(parts, checkpoint, config, findings));
  if (modules.empty()) {
    throw Error(ErrorKind::unsupported, checkpoint.where() +
                                            ": no module in a GPTQ packing that can be read (sparse "
                                            "Marlin and BitBLAS cannot)");
  }
  parallel_for(modules.size(), 1, [&](std::uint64_t begin, std::uint64_t end, int) {
    for (std::uint64_t i = begin; i < end; ++i) {
      Module& module = modules[i];
      if (module.parts.marlin_names) continue;
      module.coding = module.planar ? ZeroCoding::planar : ZeroCoding::plain;
      module.evidence = look_at_zeros(zero_words(module));
    }
  });
  decide_coding(modules, config, checkpoint, options, findings);
  find_varying(modules, findings);
  decide_spelling(modules, config, findings);
  CodedTensors coded;
  for (Module& module : modules) coded.tensors.push_back(coded_tensor(module));
  coded.findings = findings.sentences();
  return coded;
}

}  // namespace ingot::convert::gptq
