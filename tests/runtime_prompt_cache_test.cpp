// Prompts kept in files (spec/prompt_cache.md): the same text with and without them, and files that are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "converters/registry.h"
#include "format/base/hash.h"
#include "runtime/prompt_cache.h"
#include "runtime/runtime.h"
#include "tests/expect_error.h"
#include "tests/runtime_fixtures.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::test;
using namespace ingot::runtime;

namespace {

using Tokens = std::vector<std::uint32_t>;

constexpr KvType kTypes[] = {KvType::f32, KvType::f16, KvType::q8};
constexpr std::string_view kText = "Once upon a time there was a girl named Lily. She liked to play in the garden with";
constexpr std::string_view kSharing = "Once upon a time there was a girl named Lily. One day it rained";

struct Directory {
  TemporaryDirectory directory;
  std::filesystem::path file = directory / "prompt";
};

struct Talk {
  tensor::Model model = convert::read_model(data_directory() / "tiny-llama");
  Tokenizer tokenizer{*model.tokenizer};
  Numerics numerics = Numerics::exact;
  KvType kv = KvType::f32;

  [[nodiscard]] Session session() const { return Session(model, 256, numerics, kv); }
  [[nodiscard]] Tokens encode(std::string_view text) const { return tokenizer.encode(text, true, false); }

  /// What follows `prompt`, as tokens; how many came from the file goes to `cached`.
  [[nodiscard]] Tokens with_file(const std::filesystem::path& file, const Tokens& prompt, std::uint64_t& cached) const {
    Session talking = session();
    PromptCache cache(file, model);
    cached = cache.restore(talking, prompt);
    REQUIRE(talking.position() == cached);
    GenerateOptions options;
    options.max_tokens = 24;
    options.ignore_end = true;
    options.on_prompt_read = [&] {
      CHECK(talking.position() == prompt.size());
      cache.save(talking);
    };
    return generate(talking, tokenizer, std::span(prompt).subspan(cached), options).tokens;
  }
  [[nodiscard]] Tokens without_file(const Tokens& prompt) const {
    Session talking = session();
    GenerateOptions options;
    options.max_tokens = 24;
    options.ignore_end = true;
    return generate(talking, tokenizer, prompt, options).tokens;
  }
  /// The error that a session of this kind meets in the file.
  [[nodiscard]] std::optional<Error> refusal(const std::filesystem::path& file) const {
    Session talking = session();
    PromptCache cache(file, model);
    return error_of([&] { (void)cache.restore(talking, encode(kText)); });
  }
};

std::string file_bytes(const std::filesystem::path& path) { return read_text_file(path, 64u << 20); }
void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The hash at the end says that the bytes are meant.
std::string rehashed(std::string bytes) {
  const Hash128 hash = hash128(as_bytes_view(bytes).first(bytes.size() - 16));
  std::copy(hash.bytes.begin(), hash.bytes.end(), reinterpret_cast<std::byte*>(bytes.data()) + bytes.size() - 16);
  return bytes;
}

void check_refused(const std::optional<Error>& error, ErrorKind kind, std::uint64_t offset) {
  REQUIRE(error);
  CHECK_MESSAGE(error->kind == kind, error->what());
  CHECK_MESSAGE(error->offset == offset, error->what());
}

}  // namespace

TEST_CASE("text after a prompt from a file is the text without one") {
  const Directory directory;
  Talk talk;
  const Tokens prompt = talk.encode(kText), sharing = talk.encode(kSharing);
  const Tokens shorter(prompt.begin(), prompt.begin() + 7);
  const auto common = static_cast<std::uint64_t>(std::ranges::mismatch(prompt, sharing).in1 - prompt.begin());
  REQUIRE(common > 7);
  REQUIRE(common + 1 < sharing.size());
  for (const KvType kv : kTypes) {
    CAPTURE(name(kv));
    talk.kv = kv;
    std::filesystem::remove(directory.file);
    std::uint64_t cached = 99;
    CHECK(talk.with_file(directory.file, prompt, cached) == talk.without_file(prompt));
    CHECK(cached == 0);
    const std::string bytes = file_bytes(directory.file);
    CHECK(talk.with_file(directory.file, prompt, cached) == talk.without_file(prompt));
    CHECK(cached == prompt.size() - 1);
    CHECK(talk.with_file(directory.file, shorter, cached) == talk.without_file(shorter));
    CHECK(cached == shorter.size() - 1);
    CHECK(file_bytes(directory.file) == bytes);  // it begins with what was read
    CHECK(talk.with_file(directory.file, sharing, cached) == talk.without_file(sharing));
    CHECK(cached == common);
    CHECK(talk.with_file(directory.file, sharing, cached) == talk.without_file(sharing));
    CHECK(cached == sharing.size() - 1);
  }
}

TEST_CASE("keys and values come back from a prompt cache bit by bit, and so do the logits of the same pieces") {
  const Directory directory;
  Talk talk;
  const Tokens prompt = talk.encode(kText);
  const auto all_but_last = std::span(prompt).first(prompt.size() - 1);
  const auto saved = [&](Session& session) {
    std::filesystem::remove(directory.file);
    PromptCache(directory.file, talk.model).save(session);
    return file_bytes(directory.file);
  };
  for (const KvType kv : kTypes) {
    CAPTURE(name(kv));
    talk.kv = kv;
    Session first = talk.session(), second = talk.session();
    (void)first.forward(all_but_last);
    (void)saved(first);
    REQUIRE(PromptCache(directory.file, talk.model).restore(second, prompt) == all_but_last.size());
    const std::span<const float> expected = first.forward(std::span(prompt).last(1));
    CHECK(std::ranges::equal(second.forward(std::span(prompt).last(1)), expected));
    CHECK(saved(first) == saved(second));
  }
}

TEST_CASE("prompt caches of another model, key/value type or numerics are refused") {
  const Directory directory;
  Talk talk;
  Session session = talk.session();
  (void)session.forward(talk.encode(kText));
  PromptCache(directory.file, talk.model).save(session);
  CHECK_FALSE(talk.refusal(directory.file));
  talk.kv = KvType::q8;
  check_refused(talk.refusal(directory.file), ErrorKind::mismatch, 12);
  talk.kv = KvType::f32;
  talk.numerics = Numerics::fast;
  check_refused(talk.refusal(directory.file), ErrorKind::mismatch, 13);
  talk.numerics = Numerics::exact;

  talk.model.config.rope_theta *= 2;  // the same weights read otherwise
  check_refused(talk.refusal(directory.file), ErrorKind::mismatch, 16);
  talk.model.config.rope_theta /= 2;
  CHECK_FALSE(talk.refusal(directory.file));
  tensor::Tensor& trained = talk.model.tensors.back();
  std::vector<std::byte> plane(trained.stored_bytes(), std::byte{0x3f});
  trained.planes = tensor::planes_in_memory({plane}, trained.stored_shape(), trained.scheme, trained.packing);
  trained.fingerprint.reset();
  check_refused(talk.refusal(directory.file), ErrorKind::mismatch, 16);
}

TEST_CASE("damaged prompt caches are refused by name, wherever they end and whatever they say") {
  const Directory directory;
  Talk talk;
  talk.kv = KvType::q8;
  Session session = talk.session();
  PromptCache cache(directory.file, talk.model);
  (void)session.forward(Tokens{1});
  cache.save(session);
  const std::string bytes = file_bytes(directory.file);
  Session reading = talk.session();
  const auto refusal = [&](std::string_view content) {
    write_bytes(directory.file, content);
    const auto error = error_of([&] { (void)cache.restore(reading, Tokens{1, 2}); });
    REQUIRE(error);
    CHECK(std::string_view(error->what()).find(directory.file.string()) != std::string_view::npos);
    return error;
  };
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto error = refusal(std::string_view(bytes).substr(0, size));
    CHECK(error->kind == ErrorKind::truncated);
  }
  check_refused(refusal(bytes + '\0'), ErrorKind::invalid_value, bytes.size());
  for (std::size_t at = 0; at < bytes.size(); at += at < 80 ? 1 : 97) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    (void)refusal(flipped);
  }
  const auto altered = [&](std::size_t at, std::size_t count, char value) {
    std::string forged = bytes;
    forged.replace(at, count, count, value);
    return rehashed(std::move(forged));
  };
  check_refused(refusal(altered(0, 1, 'X')), ErrorKind::bad_magic, 0);
  check_refused(refusal(altered(8, 1, 2)), ErrorKind::unsupported_version, 8);
  check_refused(refusal(altered(12, 1, 3)), ErrorKind::invalid_value, 12);
  check_refused(refusal(altered(13, 1, 2)), ErrorKind::invalid_value, 13);
  check_refused(refusal(altered(14, 1, 1)), ErrorKind::invalid_value, 14);
  for (const std::size_t at : {32u, 40u, 48u, 56u}) {  // 2^64 - 1 of anything
    CHECK(refusal(altered(at, 8, '\xff'))->kind == ErrorKind::limit_exceeded);
    CHECK(refusal(altered(at + 4, 1, 1))->kind == ErrorKind::truncated);  // 2^32 more of it
  }
  std::string damaged = bytes;
  damaged[100] = static_cast<char>(damaged[100] ^ 1);
  check_refused(refusal(damaged), ErrorKind::bad_checksum, bytes.size() - 16);
  write_bytes(directory.file, bytes);
  CHECK(cache.restore(reading, Tokens{1, 2}) == 1);
}
