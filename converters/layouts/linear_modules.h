// The quantized modules of GPTQ and AWQ checkpoints, which share their tensors' names: who is whose is told by shapes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "converters/hf/codec.h"

namespace ingot::convert {

/// The tensors of one module; null where absent.
struct LinearModule {
  using Stored = HfCheckpoint::Stored;
  std::string name;                      // "model.layers.0.mlp.up_proj"
  const Stored* codes = nullptr;         // .qweight, or .B (Marlin)
  const Stored* scales = nullptr;        // .scales, or .s (Marlin)
  const Stored* zeros = nullptr;         // .qzeros
  const Stored* scaled_zeros = nullptr;  // .scaled_zeros (llm-awq)
  const Stored* group_index = nullptr;   // .g_idx
  bool marlin_names = false;             // .B and .s
};

/// Modules that have a `.qweight`, or a `.B` with its `.s`, in file order.
[[nodiscard]] std::vector<LinearModule> linear_modules(const HfCheckpoint& checkpoint);

enum class LinearFamily : std::uint8_t { none, gptq, awq };
/// Whose checkpoint this is: by shapes, and by the config where the shapes allow both.
[[nodiscard]] LinearFamily linear_family(const HfCheckpoint& checkpoint);

/// AutoAWQ's packings.
enum class AwqForm : std::uint8_t { none, gemm, gemv, fast, marlin };
/// By shapes; where two fit, `version` of the config decides.
[[nodiscard]] AwqForm awq_form(const LinearModule& module, std::string_view version);
/// qweight [words, out], qzeros [groups, words], scales [groups, out], or Marlin under its own names.
[[nodiscard]] bool fits_gptq(const LinearModule& module);

/// Columns of the scales' block: `configured` where it is one group of exactly so many inputs, 0 (the whole row) for
/// any other single group.
[[nodiscard]] std::uint32_t group_block(std::uint64_t inputs, std::uint64_t groups, std::uint64_t group_size);

/// Equal sentences about several modules become one that names the first and counts the others.
class FindingList {
 public:
  void add(const std::string& sentence, const std::string& module);
  [[nodiscard]] std::vector<std::string> sentences() const;

 private:
  struct Row {
    std::string sentence, first;
    std::uint64_t count;
  };
  std::vector<Row> rows_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace ingot::convert
