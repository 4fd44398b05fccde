// The grids that are looked for. Implements spec/recovery.md section 1.
#include <algorithm>
#include <cmath>

#include "converters/recover/form.h"
#include "format/tensor/float_codes.h"
#include "format/tensor/tables.h"

namespace ingot::convert::recovering {
namespace {

using tensor::Block;
using tensor::CodeKind;
using tensor::DType;
using tensor::Scheme;

std::vector<Lattice::Entry> sorted(std::vector<Lattice::Entry> entries) {
  std::erase_if(entries, [](const Lattice::Entry& entry) { return !std::isfinite(entry.number); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Lattice::Entry& a, const Lattice::Entry& b) { return a.number < b.number; });
  const auto same = [](const Lattice::Entry& a, const Lattice::Entry& b) { return a.number == b.number; };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());  // keeps +0 of the two zeros
  return entries;
}

std::vector<Lattice::Entry> table_entries(std::string_view name) {
  std::vector<Lattice::Entry> entries;
  std::uint8_t code = 0;
  for (const float entry : tensor::find_code_table(name)->entries) entries.push_back({entry, code++});
  return sorted(std::move(entries));
}

std::vector<Lattice::Entry> e4m3_entries() {
  std::vector<Lattice::Entry> entries;
  for (int code = 0; code < 256; ++code)
    entries.push_back({tensor::e4m3_to_f32(static_cast<std::uint8_t>(code)), static_cast<std::uint8_t>(code)});
  return sorted(std::move(entries));
}

std::vector<Lattice::Entry> e2m1_entries() {
  constexpr double kMagnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  std::vector<Lattice::Entry> entries;
  for (std::uint8_t code = 0; code < 16; ++code)
    entries.push_back({code < 8 ? kMagnitudes[code] : -kMagnitudes[code - 8], code});
  return sorted(std::move(entries));
}

/// Types of scales, the likeliest first: that of the source, which is what the parameters of its maker mostly had.
std::vector<DType> scale_types(DType source) {
  if (source == DType::bf16) return {DType::bf16, DType::f16, DType::f32};
  return {DType::f16, DType::bf16, DType::f32};
}

void add_integers(DType source, std::uint64_t cols, std::vector<Form>& forms) {
  std::vector<Block> blocks = {{0, 0}, {1, 0}};
  for (const std::uint32_t group : {1024u, 512u, 256u, 128u, 64u, 32u, 16u})
    if (cols > group && cols % group == 0) blocks.push_back({1, group});
  for (const LatticeKind kind : {LatticeKind::integers, LatticeKind::biased}) {
    for (const DType type : scale_types(source)) {
      for (const Block& block : blocks) {
        if (kind == LatticeKind::biased && (block.rows == 0 || block.cols == 0)) continue;
        Form form{{kind, source, type, {}}, {}};
        form.scheme.codes.type = DType::u8;
        form.scheme.scales = {{type, block}};
        if (kind == LatticeKind::biased) form.scheme.offset = {tensor::OffsetKind::bias, 0, {{type, block}}};
        forms.push_back(std::move(form));
      }
    }
  }
}

/// NF4 and FP4 of bitsandbytes: runs of elements, which are groups of a row where they divide it.
void add_flat_tables(DType source, std::uint64_t cols, std::vector<Form>& forms) {
  for (const char* name : {"nf4", "fp4"}) {
    for (const std::uint32_t run : {4096u, 2048u, 1024u, 512u, 256u, 128u, 64u, 32u}) {
      Form form{{LatticeKind::table, source, DType::f32, table_entries(name), true}, {}};
      form.scheme.codes = {CodeKind::table, DType::u4, name};
      const bool by_rows = cols % run == 0;
      form.scheme.flat = by_rows ? 0 : run;
      form.scheme.scales = {{DType::f32, {1, by_rows ? run : 0}}};
      forms.push_back(std::move(form));
    }
  }
}

void add_small_floats(DType source, std::uint64_t rows, std::uint64_t cols, std::vector<Form>& forms) {
  if (cols % 32 == 0) {
    Form form{{LatticeKind::table, source, DType::e8m0, e2m1_entries()}, {}};
    form.scheme.codes.type = DType::e2m1;
    form.scheme.scales = {{DType::e8m0, {1, 32}}};
    forms.push_back(std::move(form));
  }
  std::vector<Block> blocks = {{0, 0}, {1, 0}};
  if (rows > 128 || cols > 128) blocks.push_back({128, 128});
  for (const Block& block : blocks) {
    Form form{{LatticeKind::table, source, DType::f32, e4m3_entries()}, {}};
    form.scheme.codes.type = DType::e4m3;
    form.scheme.scales = {{DType::f32, block}};
    forms.push_back(std::move(form));
  }
}

}  // namespace

std::vector<Form> candidates(const tensor::Tensor& source, DType type) {
  const std::uint64_t cols = source.shape.back(), rows = source.shape[source.shape.size() - 2];
  std::vector<Form> forms;
  add_integers(type, cols, forms);
  add_flat_tables(type, cols, forms);
  add_small_floats(type, rows, cols, forms);
  return forms;
}

}  // namespace ingot::convert::recovering
