// Which grid a float tensor lies on. Implements spec/recovery.md section 4.
#include "converters/recover/recover.h"

#include <algorithm>
#include <atomic>

#include "converters/recover/form.h"
#include "format/base/parallel.h"

namespace ingot::convert {
namespace {

using recovering::Form;
using recovering::LatticeKind;
using recovering::Survey;
using tensor::DType;
using tensor::Tensor;

constexpr double kLeastEvidence = 64, kLeastEvidencePerBlock = 16;  // bits
constexpr std::uint64_t kLeastSavedBytes = 1024;

bool may_lie_on_a_grid(const Tensor& source) noexcept {
  if (!source.scheme.is_plain() || source.derived || source.shape.size() < 2 || source.elements() == 0) return false;
  const DType type = source.scheme.codes.type;
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

DType unsigned_type(int bits) noexcept {
  switch (bits) {
    case 2: return DType::u2;
    case 3: return DType::u3;
    case 4: return DType::u4;
    case 5: return DType::u5;
    case 6: return DType::u6;
    default: return DType::u8;
  }
}

/// Width of the codes and zero points of integers; false: more than 8 bits.
bool settle(const Survey& found, Form& form) {
  if (form.lattice.kind == LatticeKind::table) return true;
  tensor::Scheme& scheme = form.scheme;
  if (form.lattice.kind == LatticeKind::biased || found.asymmetric_bits < found.symmetric_bits) {
    if (found.asymmetric_bits > 8) return false;
    scheme.codes.type = unsigned_type(found.asymmetric_bits);
    if (form.lattice.kind == LatticeKind::biased) return true;
    scheme.offset = {tensor::OffsetKind::zero_points, 0, {{scheme.codes.type, scheme.scales[0].block}}};
    return true;
  }
  if (found.symmetric_bits > 8) return false;
  if (found.symmetric_bits == 8) {
    scheme.codes.type = DType::i8;
    return true;
  }
  scheme.codes.type = unsigned_type(found.symmetric_bits);
  scheme.offset = {tensor::OffsetKind::zero, 1 << (found.symmetric_bits - 1), {}};
  return true;
}

bool is_convincing(const Survey& found) noexcept {
  return found.evidence >= kLeastEvidence &&
         found.evidence >= kLeastEvidencePerBlock * static_cast<double>(found.telling_blocks);
}

std::uint64_t bytes_in(const Form& form, const Tensor& source) {
  std::uint64_t bytes = 0;
  for (const tensor::PlaneSpec& spec :
       tensor::plane_specs(source.shape, form.scheme, tensor::canonical_packing(source.shape, form.scheme)))
    bytes += spec.total_bytes;
  return bytes;
}

/// The best grid so far.
struct Best {
  Form form;
  bool exact = false;
  std::uint64_t bytes = 0;
  [[nodiscard]] bool is_beaten_by(bool other_exact, std::uint64_t other_bytes) const noexcept {
    return exact != other_exact ? other_exact : other_bytes < bytes;
  }
};

/// The types that the values may have been rounded to: that of the tensor, and narrower ones that hold the first
/// values.
std::vector<DType> roundings(const Tensor& source) {
  std::vector<DType> types = {source.scheme.codes.type};
  if (types[0] != DType::f32) return types;
  constexpr std::uint64_t kLooked = 4096;
  std::vector<float> values(std::min(source.elements(), kLooked));
  tensor::decode_logical_range(source, 0, values);
  for (const DType type : {DType::f16, DType::bf16}) {
    const recovering::Precision precision(type);
    if (std::all_of(values.begin(), values.end(), [&](float value) { return precision.round(value) == value; }))
      types.push_back(type);
  }
  return types;
}

std::optional<Best> best_form(const Tensor& source, DType type) {
  std::optional<Best> best;
  LatticeKind settled_kind = LatticeKind::table;  // of the integers that fitted last
  for (Form& candidate : recovering::candidates(source, type)) {
    const bool of_integers = candidate.lattice.kind != LatticeKind::table;
    // Smaller groups fit as well; they cost less only where they need fewer bits.
    const bool cannot_win = best && of_integers && best->exact &&
                            (candidate.lattice.kind != settled_kind || tensor::bits(best->form.scheme.codes.type) <= 4);
    if (cannot_win) continue;
    Survey found;
    if (!recovering::survey(source, candidate, found) || !is_convincing(found) || !settle(found, candidate)) continue;
    const std::uint64_t bytes = bytes_in(candidate, source);
    const std::uint64_t before = source.stored_bytes();
    if (bytes + kLeastSavedBytes > before || bytes > before - before / 4) continue;
    if (best && !best->is_beaten_by(found.exact, bytes)) continue;
    candidate.whole = std::move(found.whole);
    if (of_integers) settled_kind = candidate.lattice.kind;
    best = Best{std::move(candidate), found.exact, bytes};
  }
  return best;
}

}  // namespace

std::optional<Recovered> recover(const Tensor& source) {
  if (!may_lie_on_a_grid(source)) return std::nullopt;
  for (const DType type : roundings(source)) {
    std::optional<Best> best = best_form(source, type);
    if (best) return Recovered{recovering::in_form(source, std::move(best->form)), best->exact};
  }
  return std::nullopt;
}

namespace {

bool rounds_to_type(const Tensor& made, const Tensor& source, DType type) {
  const recovering::Precision precision(type);
  tensor::ValueReader wanted(source), found(made);
  std::atomic<bool> equal = true;
  constexpr std::uint64_t kGrain = std::uint64_t{1} << 16;
  parallel_for(source.elements(), kGrain, [&](std::uint64_t begin, std::uint64_t end, int worker) {
    std::vector<float> a(std::min(end - begin, kGrain)), b(a.size());
    for (std::uint64_t at = begin; at < end && equal; at += a.size()) {
      const std::size_t count = std::min<std::uint64_t>(a.size(), end - at);
      wanted.read(at, std::span(a).first(count), worker);
      found.read(at, std::span(b).first(count), worker);
      for (std::size_t i = 0; i < count; ++i)
        if (static_cast<double>(a[i]) != precision.round(b[i])) equal = false;
    }
  });
  return equal;
}

}  // namespace

bool rounds_to(const Tensor& made, const Tensor& source) {
  if (made.shape != source.shape || !may_lie_on_a_grid(source)) return false;
  const std::vector<DType> types = roundings(source);
  return std::any_of(types.begin(), types.end(), [&](DType type) { return rounds_to_type(made, source, type); });
}

}  // namespace ingot::convert
