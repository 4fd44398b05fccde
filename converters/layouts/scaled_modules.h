// Quantized modules of checkpoints that keep codes as rows beside their scales: compressed-tensors, FP8, MXFP4, NVFP4.
// They share forms and mix them, so one reader knows all. What a module is, is told by names, types and shapes, and by
// the config only where these leave a choice.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converters/hf/codec.h"
#include "converters/layouts/linear_modules.h"

namespace ingot::convert::scaled {

enum class Form : std::uint8_t {
  packed_words,   ///< weight_packed I32: integers of 1 to 8 bits in words, row by row (compressed-tensors)
  integers,       ///< weight I8 (compressed-tensors)
  floats,         ///< weight of an 8-bit float type
  nvfp4_divided,  ///< weight_packed U8, weight_scale F8_E4M3, weight_global_scale: a divisor (compressed-tensors)
  nvfp4,          ///< weight U8, weight_scale F8_E4M3, weight_scale_2: a multiplier (ModelOpt)
  mxfp4,          ///< 4-bit floats with E8M0 scales, under compressed-tensors', Quark's or DeepSeek's names
  mxfp4_blocks,   ///< _blocks and _scales (gpt-oss)
};

/// Tensors of one module as their names show them; nothing is checked yet.
struct Parts {
  using Stored = HfCheckpoint::Stored;
  Form form{};
  std::string name;  // of the weight in an unquantized checkpoint
  const Stored* codes = nullptr;
  const Stored* scale = nullptr;   // null: missing
  const Stored* global = nullptr;  // nvfp4 and nvfp4_divided
  const Stored* shape = nullptr;   // packed_words
  const Stored* zero = nullptr;
  const Stored* group_index = nullptr;
};
/// In file order. Never throws for foreign content.
[[nodiscard]] std::vector<Parts> find_parts(const HfCheckpoint& checkpoint);
[[nodiscard]] bool has_form(const HfCheckpoint& checkpoint, std::initializer_list<Form> forms);

/// What the config says about weights, by group.
struct Config {
  struct Group {
    std::uint64_t bits = 0, group_size = 0;        // 0: not said
    std::uint64_t block_rows = 0, block_cols = 0;  // 0: not said
    bool symmetric = true;
  };
  explicit Config(const Json* quantization);
  /// The same with the groups that name this module, if there are any; patterns and classes are not resolved.
  [[nodiscard]] Config of(const std::string& module) const;
  [[nodiscard]] bool all_symmetric() const noexcept;   // false without groups
  [[nodiscard]] bool all_asymmetric() const noexcept;  // false without groups
  std::vector<Group> groups;
  std::string format;               // of compressed-tensors, where one is for all groups; empty: not said
  std::optional<bool> dense_words;  // how 3-, 5-, 6- and 7-bit codes are packed, by the library's version
  bool transforms = false;          // weights are in a rotated basis
  bool trusted = false;             // --trust-config: the shapes of scales do not overrule block sizes

 private:
  using Targets = std::map<std::string, std::vector<std::size_t>>;
  std::shared_ptr<const Targets> targets_;  // name -> groups; may be null. Shared: `of` is asked of every module
};

/// A module whose parts fit together.
struct Module {
  Parts parts;
  tensor::Shape shape;  // of the codes as stored: [.., out, in]
  tensor::Block block;  // of the finest scale
  std::uint8_t bits = 8;
  bool spread_words = false;           // packed_words of compressed-tensors before 0.18: no code straddles a word
  bool has_zeros = false;              // `zero` counts
  std::vector<std::uint32_t> indexes;  // group of every input; empty: groups in order
  bool index_is_kept = false;          // g_idx says nothing that could be packed again
};
/// Throws mismatch or unsupported naming file, tensor and offset.
[[nodiscard]] Module inspect(const Parts& parts, const Config& config, FindingList& findings);

}  // namespace ingot::convert::scaled
