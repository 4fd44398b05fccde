// A loaded network and its position: cuts long inputs into pieces that the buffers hold.
#include <algorithm>
#include <chrono>

#include "format/base/error.h"
#include "kernels/registry.h"
#include "runtime/arch/architecture.h"
#include "runtime/model_errors.h"
#include "runtime/runtime.h"

namespace ingot::runtime {
namespace {

constexpr std::uint64_t kDefaultContext = 4096;
constexpr std::uint64_t kScoredRows = 32;  // logits that are held at a time

void check_kernels() {
  using Outcome = kernels::Selection::Outcome;
  const kernels::Selection& selection = kernels::selection();
  if (selection.outcome == Outcome::automatic || selection.outcome == Outcome::forced) return;
  std::string known;
  for (const kernels::Variant& variant : kernels::variants())
    known += (known.empty() ? "" : ", ") + std::string(variant.name);
  const bool unknown = selection.outcome == Outcome::unknown_name;
  throw Error(ErrorKind::unsupported,
              "INGOT_KERNELS=" + std::string(selection.requested) +
                  (unknown ? ": no such variant (known: " + known + ")" : ": this machine lacks the instructions"));
}

/// An adapter holds what is added to a base model (spec/adapters.md), and cannot be run without it.
void check_is_whole(const tensor::Model& model) {
  const auto type = model.metadata.find("adapter.type");
  if (type == model.metadata.end()) return;
  const auto base = model.metadata.find("adapter.base_model");
  throw Error(ErrorKind::unsupported, model.path.string() + ": an adapter (" + type->second +
                                          "), which runs only with its base model" +
                                          (base == model.metadata.end() ? std::string() : ", " + base->second));
}

/// Later tokens would change what is in the cache.
void check_is_causal(const tensor::Model& model) {
  if (!model.config.bidirectional_attention) return;
  throw Error(ErrorKind::unsupported,
              model.path.string() +
                  ": bidirectional_attention: tokens see later ones in this model, which embeds "
                  "text and generates none; it cannot be run");
}

const Architecture& architecture_of(const tensor::Model& model) {
  if (const Architecture* found = find_architecture(model.config.architecture)) return *found;
  std::string known;
  for (const Architecture& row : all_architectures()) known += (known.empty() ? "" : ", ") + std::string(row.name);
  throw Error(ErrorKind::unsupported, model.path.string() + ": architecture \"" + model.config.architecture +
                                          "\" cannot be run (supported: " + known + ")");
}

std::uint64_t chosen_context(const tensor::Model& model, std::uint64_t wanted) {
  const std::uint64_t limit = model.config.context_length;
  if (wanted == 0) return limit == 0 ? kDefaultContext : std::min(limit, kDefaultContext);
  if (limit != 0 && wanted > limit) {
    throw Error(ErrorKind::limit_exceeded, model.path.string() + ": context: expected at most " +
                                               std::to_string(limit) + ", got " + std::to_string(wanted));
  }
  return wanted;
}

KvType default_kv(Numerics numerics) noexcept { return numerics == Numerics::exact ? KvType::f32 : KvType::f16; }

}  // namespace

struct Session::Impl {
  std::string model;  // its path
  std::uint64_t context, position = 0;
  Numerics numerics = Numerics::exact;
  double load_seconds = 0;
  std::unique_ptr<Network> network;
  std::vector<float> logits;
  std::vector<std::uint32_t> tokens;  // read so far: kept for networks that want them read anew

  /// Appends tokens to the sequence. Throws when one is unknown or there is no room.
  void take(std::span<const std::uint32_t> added) {
    if (added.empty()) throw Error(ErrorKind::invalid_value, "forward: expected at least one token");
    if (added.size() > context - position) {
      throw Error(ErrorKind::limit_exceeded, model + ": the context of " + std::to_string(context) +
                                                 " positions is full (" + std::to_string(position) + " used, " +
                                                 std::to_string(added.size()) + " more wanted)");
    }
    for (const std::uint32_t token : added) {
      if (token >= network->vocab_size()) {
        throw Error(ErrorKind::invalid_value, model + ": token id " + std::to_string(token) + ": expected below " +
                                                  std::to_string(network->vocab_size()));
      }
    }
    tokens.resize(position);
    tokens.insert(tokens.end(), added.begin(), added.end());
    if (network->prepare(tokens.size())) position = 0;
  }

  /// Leaves the logits of the last one in the first row.
  void read(std::span<const std::uint32_t> pieces) {
    while (!pieces.empty()) {
      const std::size_t count = std::min<std::size_t>(pieces.size(), kMaxVectors);
      const bool last = count == pieces.size();
      network->forward(pieces.first(count), position,
                       last ? std::span(logits).first(network->vocab_size()) : std::span<float>());
      position += count;
      pieces = pieces.subspan(count);
    }
  }
};

Session::Session(const tensor::Model& model, std::uint64_t context, Numerics numerics, std::optional<KvType> kv)
    : impl_(std::make_unique<Impl>()) {
  check_kernels();
  check_is_whole(model);
  check_is_causal(model);
  impl_->model = model.path.string();
  impl_->context = chosen_context(model, context);
  impl_->numerics = numerics;
  const auto start = std::chrono::steady_clock::now();
  impl_->network = naming(model, [&] {
    return architecture_of(model).load(Loader(model, numerics, kv.value_or(default_kv(numerics))), impl_->context);
  });
  impl_->load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  impl_->logits.resize(impl_->network->vocab_size());
}

Session::~Session() = default;

std::span<const float> Session::forward(std::span<const std::uint32_t> tokens) {
  impl_->take(tokens);
  impl_->read(std::span<const std::uint32_t>(impl_->tokens).subspan(impl_->position));
  return std::span(impl_->logits).first(impl_->network->vocab_size());
}

void Session::score(std::span<const std::uint32_t> tokens, std::uint64_t first,
                    const std::function<void(std::uint64_t index, std::span<const float> logits)>& visit) {
  Impl& impl = *impl_;
  const std::uint64_t start = impl.position, vocab = impl.network->vocab_size();
  impl.take(tokens);
  impl.logits.resize(kScoredRows * vocab);
  while (impl.position < impl.tokens.size()) {
    const std::uint64_t left = impl.tokens.size() - impl.position;
    const std::uint64_t scored_from = start + first;  // positions below it need no logits
    const bool scores = impl.position >= scored_from;
    const std::uint64_t count =
        scores ? std::min(left, kScoredRows) : std::min({left, kMaxVectors, scored_from - impl.position});
    const std::span<float> logits = scores ? std::span(impl.logits).first(count * vocab) : std::span<float>();
    impl.network->forward(std::span<const std::uint32_t>(impl.tokens).subspan(impl.position, count), impl.position,
                          logits);
    impl.position += count;
    if (scores) visit(impl.position - count - start, logits);
  }
}

std::uint64_t Session::vocab_size() const noexcept { return impl_->network->vocab_size(); }
std::uint64_t Session::position() const noexcept { return impl_->position; }
std::span<const std::uint32_t> Session::tokens() const noexcept {
  return std::span<const std::uint32_t>(impl_->tokens).first(impl_->position);
}
std::uint64_t Session::context() const noexcept { return impl_->context; }
std::uint64_t Session::copied_bytes() const noexcept { return impl_->network->copied_bytes(); }
double Session::load_seconds() const noexcept { return impl_->load_seconds; }
Numerics Session::numerics() const noexcept { return impl_->numerics; }
KvType Session::kv() const noexcept { return impl_->network->cache().type(); }
std::uint64_t Session::kv_bytes() const noexcept { return impl_->network->cache().bytes(); }
void Session::reset() noexcept { impl_->position = 0; }
KvCache& Session::cache() noexcept { return impl_->network->cache(); }

bool Session::resume(std::span<const std::uint32_t> tokens, std::uint64_t computed_length, std::uint64_t length) {
  reset();
  (void)impl_->network->prepare(computed_length);
  if (impl_->network->prepare(length)) return false;
  impl_->tokens.assign(tokens.begin(), tokens.end());
  impl_->position = tokens.size();
  return true;
}

std::uint64_t Session::weight_bytes_per_token() const noexcept { return impl_->network->weight_bytes_per_token(); }

std::span<const std::string_view> kv_names() noexcept {
  static constexpr std::string_view kNames[] = {"f32", "f16", "q8"};  // in the order of KvType
  return kNames;
}

std::string_view name(KvType type) noexcept { return kv_names()[static_cast<std::size_t>(type)]; }

std::optional<KvType> kv_type(std::string_view name) noexcept {
  const auto found = std::find(kv_names().begin(), kv_names().end(), name);
  if (found == kv_names().end()) return std::nullopt;
  return static_cast<KvType>(found - kv_names().begin());
}

std::vector<std::string_view> architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& row : all_architectures()) names.push_back(row.name);
  return names;
}

}  // namespace ingot::runtime
