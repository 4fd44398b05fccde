#include "runtime/prompt_cache.h"

#include <algorithm>
#include <array>
#include <string>
#include <system_error>

#include "format/base/checked_math.h"
#include "format/base/json.h"
#include "format/base/mapped_file.h"
#include "format/base/output_file.h"
#include "runtime/attention.h"
#include "runtime/model_identity.h"

namespace ingot::runtime {
namespace {

using Part = KvCache::Part;

constexpr std::string_view kMagic = "INGOTKVC";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kHashBytes = 16;

// Where the fields of the header lie.
constexpr std::uint64_t kVersionAt = 8, kKvAt = 12, kNumericsAt = 13, kZeroAt = 14, kModelAt = 16, kLayersAt = 32,
                        kHeadsAt = 40, kHeadDimAt = 48, kTokensAt = 56, kHeaderBytes = 64;

struct Header {
  KvType kv;
  Numerics numerics;
  Hash128 model;
  std::uint64_t layers, heads, head_dim, tokens;
};

std::string_view name(Numerics numerics) noexcept { return numerics == Numerics::exact ? "exact" : "fast"; }

Header header_of(Session& session, const Hash128& model) {
  const KvCache& cache = session.cache();
  return {cache.type(),     session.numerics(),     model, cache.layers(), cache.heads(),
          cache.head_dim(), session.tokens().size()};
}

std::array<std::byte, kHeaderBytes> to_bytes(const Header& header) noexcept {
  std::array<std::byte, kHeaderBytes> bytes{};
  std::ranges::copy(as_bytes_view(kMagic), bytes.begin());
  store_le(bytes.data() + kVersionAt, kVersion);
  store_le(bytes.data() + kKvAt, static_cast<std::uint8_t>(header.kv));
  store_le(bytes.data() + kNumericsAt, static_cast<std::uint8_t>(header.numerics));
  std::ranges::copy(header.model.bytes, bytes.begin() + kModelAt);
  store_le(bytes.data() + kLayersAt, header.layers);
  store_le(bytes.data() + kHeadsAt, header.heads);
  store_le(bytes.data() + kHeadDimAt, header.head_dim);
  store_le(bytes.data() + kTokensAt, header.tokens);
  return bytes;
}

/// A file that was found whole. Views only: nothing is allocated by its numbers.
class PromptFile {
 public:
  explicit PromptFile(const std::filesystem::path& path) : file_(path), where_(path.string()) {
    ByteReader reader(file_.bytes(), where_);
    read_header(reader);
    check_size();
    check_hash();
  }

  /// Throws mismatch when keys and values were not computed as `ours` would be.
  void expect(const Header& ours) const {
    const auto number = [](std::uint64_t value) { return std::to_string(value); };
    if (header_.model != ours.model) {
      throw Error(ErrorKind::mismatch,
                  where_ + ": is the prompt cache of another model: at byte " + std::to_string(kModelAt) +
                      " expected its hash " + ours.model.hex() + ", got " + header_.model.hex(),
                  kModelAt);
    }
    expect_equal("kv type", kKvAt, runtime::name(ours.kv), runtime::name(header_.kv));
    expect_equal("numerics", kNumericsAt, name(ours.numerics), name(header_.numerics));
    expect_equal("layers", kLayersAt, number(ours.layers), number(header_.layers));
    expect_equal("heads", kHeadsAt, number(ours.heads), number(header_.heads));
    expect_equal("head_dim", kHeadDimAt, number(ours.head_dim), number(header_.head_dim));
  }

  [[nodiscard]] std::vector<std::uint32_t> tokens() const {
    std::vector<std::uint32_t> ids(header_.tokens);
    for (std::size_t i = 0; i < ids.size(); ++i)
      ids[i] = load_le<std::uint32_t>(file_.bytes().data() + kHeaderBytes + 4 * i);
    return ids;
  }

  /// The first `count` positions; expect() has found the cache to be of the same form.
  void copy_to(KvCache& cache, std::uint64_t count) const {
    ByteReader reader(file_.bytes().subspan(kHeaderBytes + 4 * header_.tokens), where_);
    for (std::uint64_t layer = 0; layer < cache.layers(); ++layer) {
      for (const Part part : {Part::keys, Part::values}) {
        for (std::uint64_t head = 0; head < cache.heads(); ++head) {
          copy_part(reader, cache.kept_rows(part, layer, head, count), count);
          copy_part(reader, cache.kept_scales(part, layer, head, count), count);
        }
      }
    }
  }

 private:
  void read_header(ByteReader& reader) {
    if (!kMagic.starts_with(as_text(file_.bytes()).substr(0, kMagic.size()))) {
      throw Error(ErrorKind::bad_magic,
                  where_ + ": no prompt cache: at byte 0 expected \"" + std::string(kMagic) + "\", got other bytes", 0);
    }
    (void)reader.take(kMagic.size(), "magic");
    const std::uint32_t version = reader.read_u32("version");
    if (version != kVersion) {
      throw Error(ErrorKind::unsupported_version,
                  at("version", kVersionAt) + std::to_string(kVersion) + ", got " + std::to_string(version),
                  kVersionAt);
    }
    header_.kv = static_cast<KvType>(limited("kv type", kKvAt, reader.read_u8("kv type"), kv_names().size() - 1));
    header_.numerics = static_cast<Numerics>(limited("numerics", kNumericsAt, reader.read_u8("numerics"), 1));
    (void)limited("zero bytes", kZeroAt, reader.read_u16("zero bytes"), 0);
    std::ranges::copy(reader.take(kHashBytes, "model"), header_.model.bytes.begin());
    header_.layers = reader.read_u64("layers");
    header_.heads = reader.read_u64("heads");
    header_.head_dim = reader.read_u64("head_dim");
    header_.tokens = reader.read_u64("tokens");
  }

  void check_size() const {
    const std::string what = where_ + ": sizes at byte " + std::to_string(kLayersAt);
    const std::uint64_t elem_bytes = header_.kv == KvType::f32 ? 4 : header_.kv == KvType::f16 ? 2 : 1;
    const std::uint64_t scale_bytes = header_.kv == KvType::q8 ? 4 : 0;
    const std::uint64_t row = checked_add(checked_mul(header_.head_dim, elem_bytes, what), scale_bytes, what);
    const std::uint64_t extents[] = {2, header_.layers, header_.heads, header_.tokens, row};
    const std::uint64_t planes = checked_product(extents, what);
    const std::uint64_t ids = checked_mul(header_.tokens, 4, what);
    const std::uint64_t expected = checked_add(checked_add(ids, planes, what), kHeaderBytes + kHashBytes, what);
    if (file_.size() == expected) return;
    const std::uint64_t end = std::min(file_.size(), expected);
    throw Error(file_.size() < expected ? ErrorKind::truncated : ErrorKind::invalid_value,
                at("end", end) + std::to_string(expected) + " bytes, got " + std::to_string(file_.size()), end);
  }

  void check_hash() const {
    const std::uint64_t size = file_.size() - kHashBytes;
    Hash128 stored;
    std::ranges::copy(file_.bytes().last(kHashBytes), stored.bytes.begin());
    const Hash128 computed = hash128(file_.bytes().first(size));
    if (stored == computed) return;
    throw Error(ErrorKind::bad_checksum, at("hash", size) + stored.hex() + ", got " + computed.hex(), size);
  }

  void expect_equal(std::string_view what, std::uint64_t offset, std::string_view ours, std::string_view theirs) const {
    if (ours == theirs) return;
    throw Error(ErrorKind::mismatch, at(what, offset) + std::string(ours) + ", got " + std::string(theirs), offset);
  }

  std::uint64_t limited(std::string_view what, std::uint64_t offset, std::uint64_t value, std::uint64_t most) const {
    if (value <= most) return value;
    throw Error(ErrorKind::invalid_value,
                at(what, offset) + "at most " + std::to_string(most) + ", got " + std::to_string(value), offset);
  }

  [[nodiscard]] std::string at(std::string_view what, std::uint64_t offset) const {
    return where_ + ": " + std::string(what) + " at byte " + std::to_string(offset) + ": expected ";
  }

  /// The file has all its positions where `to` takes the first `count`.
  void copy_part(ByteReader& reader, std::span<std::byte> to, std::uint64_t count) const {
    const Bytes all = reader.take(to.size() / count * header_.tokens, "keys and values");
    std::ranges::copy(all.first(to.size()), to.begin());
  }

  MappedFile file_;
  std::string where_;
  Header header_{};
};

}  // namespace

namespace {

/// Where a link leads, also to nothing yet: a file is replaced whole, and a link would become a file.
std::filesystem::path followed(std::filesystem::path path) {
  constexpr int kMostLinks = 40;
  std::error_code status;
  for (int i = 0; i < kMostLinks && std::filesystem::is_symlink(path, status); ++i)
    path = path.parent_path() / std::filesystem::read_symlink(path, status);
  return path;
}

}  // namespace

PromptCache::PromptCache(const std::filesystem::path& path, const tensor::Model& model)
    : path_(followed(path)), model_(identity_of(model)) {}

std::uint64_t PromptCache::restore(Session& session, std::span<const std::uint32_t> prompt) {
  session.reset();
  held_.clear();
  std::error_code ignored;  // what cannot be looked up cannot be written either, and save() says why
  if (prompt.empty() || !std::filesystem::exists(path_, ignored)) return 0;
  const PromptFile file(path_);
  file.expect(header_of(session, model_));
  held_ = file.tokens();
  const auto differing = std::ranges::mismatch(held_, prompt).in1;
  const auto shared = static_cast<std::uint64_t>(differing - held_.begin());
  const std::uint64_t count = std::min({shared, prompt.size() - 1, session.context()});
  if (count == 0 || !session.resume(prompt.first(count), held_.size(), prompt.size())) return 0;
  file.copy_to(session.cache(), count);
  return count;
}

void PromptCache::save(Session& session) {
  const std::span<const std::uint32_t> tokens = session.tokens();
  if (tokens.size() <= held_.size() && std::equal(tokens.begin(), tokens.end(), held_.begin())) return;
  OutputFile file(path_);
  Hasher128 hasher;
  const auto write = [&](Bytes bytes) {
    hasher.update(bytes);
    file.write(bytes);
  };
  write(to_bytes(header_of(session, model_)));
  write(std::as_bytes(tokens));
  KvCache& cache = session.cache();
  for (std::uint64_t layer = 0; layer < cache.layers(); ++layer) {
    for (const Part part : {Part::keys, Part::values}) {
      for (std::uint64_t head = 0; head < cache.heads(); ++head) {
        write(cache.kept_rows(part, layer, head, tokens.size()));
        write(cache.kept_scales(part, layer, head, tokens.size()));
      }
    }
  }
  file.write(hasher.digest().bytes);
  file.commit();
  held_.assign(tokens.begin(), tokens.end());
}

}  // namespace ingot::runtime
