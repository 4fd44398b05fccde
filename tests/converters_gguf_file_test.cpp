// The GGUF container: what is accepted and refused, every prefix, mutations, bounded memory.
#include <doctest/doctest.h>

#include <fstream>

#include "converters/gguf/file.h"
#include "converters/gguf/read.h"
#include "converters/gguf/shards.h"
#include "format/base/output_file.h"
#include "format/tensor/decode.h"
#include "tests/converters_gguf_bytes.h"
#include "tests/counted_memory.h"
#include "tests/expect_error.h"
#include "tests/temporary_directory.h"

namespace ingot::test {
namespace {

using convert::gguf::GgufFile;
using convert::gguf::parse_bytes;

/// The worked example of the GGUF reference: two tensors, four entries, accepted by ggml.
std::vector<std::byte> example() {
  GgufBytes file;
  file.head(2, 4).string_entry("general.architecture", "x").u32_entry("x.a", 7);
  file.text("x.b").put<std::int32_t>(9).put<std::int32_t>(8).put<std::uint64_t>(2).text("ab").text("");
  file.text("x.c").put<std::int32_t>(7).put<std::uint8_t>(1);
  file.info("w.weight", {32, 2}, 2, 0).info("n", {3}, 0, 64).align();
  std::mt19937_64 random(3);
  const std::vector<std::byte> blocks = random_bytes(36, random);
  file.bytes.insert(file.bytes.end(), blocks.begin(), blocks.end());
  file.align().put(1.0f).put(-2.5f).put(0.1f).align();
  return file.bytes;
}

/// One F32 tensor of one element with the given name, dims and type; data for `data_bytes`.
std::vector<std::byte> one_tensor(std::string_view name, const std::vector<std::int64_t>& dims, std::uint32_t type,
                                  std::size_t data_bytes) {
  GgufBytes file;
  file.head(1, 0).info(name, dims, type, 0).align().zeros(data_bytes).align();
  return file.bytes;
}

std::vector<std::byte> one_entry(const std::function<void(GgufBytes&)>& add, std::int64_t entries = 1) {
  GgufBytes file;
  file.head(0, entries);
  add(file);
  return file.bytes;
}

void accept(const char* what, const std::vector<std::byte>& bytes) {
  CAPTURE(what);
  const auto error = error_of([&] { (void)parse_bytes(bytes, "test"); });
  CHECK_MESSAGE(!error, (error ? error->what() : ""));
}
void refuse(const char* what, ErrorKind kind, const std::vector<std::byte>& bytes) {
  CAPTURE(what);
  const auto error = error_of([&] { (void)parse_bytes(bytes, "test"); });
  REQUIRE(error);
  CHECK(error_kind_name(error->kind) == error_kind_name(kind));
}

std::filesystem::path write(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
  write_file_atomically(path, bytes);
  return path;
}

}  // namespace

TEST_CASE("worked_example_is_read_as_ggml_reads_it") {
  const std::vector<std::byte> bytes = example();
  REQUIRE(bytes.size() == 352);
  const GgufFile file = parse_bytes(bytes, "example");
  CHECK(file.data_start == 0x100);
  CHECK(file.unsigned_integer("x.a") == 7);
  CHECK(file.boolean("x.c") == true);
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.tensors[0].shape() == std::vector<std::uint64_t>{2, 32});
  CHECK(file.tensors[0].size == 36);
  CHECK(file.tensors[1].offset == 0x140);
  std::vector<std::string> texts;
  file.find("x.b")->for_each_string([&](std::string_view text) { texts.emplace_back(text); });
  CHECK(texts == std::vector<std::string>{"ab", ""});
}

TEST_CASE("accepts_what_ggml_accepts") {
  accept("empty string value", one_entry([](GgufBytes& f) { f.string_entry("a", ""); }));
  accept("empty string array",
         one_entry([](GgufBytes& f) { f.text("a").put<std::int32_t>(9).put<std::int32_t>(8).put<std::uint64_t>(0); }));
  accept("empty i32 array",
         one_entry([](GgufBytes& f) { f.text("a").put<std::int32_t>(9).put<std::int32_t>(5).put<std::uint64_t>(0); }));
  const auto odd_bool = one_entry([](GgufBytes& f) { f.text("a").put<std::int32_t>(7).put<std::uint8_t>(2); });
  accept("bool byte 2", odd_bool);
  CHECK(parse_bytes(odd_bool, "test").boolean("a") == true);
  accept("tensor name of 63 bytes", one_tensor(std::string(63, 'n'), {1}, 0, 4));
  accept("empty tensor name", one_tensor("", {1}, 0, 4));
  accept("no dimensions", one_tensor("n", {}, 0, 4));
  accept("an extent of zero", one_tensor("n", {32, 0}, 0, 0));
  accept("type Q8_1", one_tensor("n", {32}, 9, 36));
  accept("type Q8_K", one_tensor("n", {256}, 15, 292));
  for (const std::uint32_t alignment : {4u, 8u, 64u}) {
    GgufBytes file;
    file.head(1, 1)
        .u32_entry("general.alignment", alignment)
        .info("n", {1}, 0, 0)
        .align(alignment)
        .zeros(4)
        .align(alignment);
    accept("another alignment", file.bytes);
  }
  accept("version 2", [] {
    auto bytes = example();
    bytes[4] = std::byte{2};
    return bytes;
  }());
  accept("missing final padding", [] {
    auto bytes = example();
    bytes.resize(bytes.size() - 20);
    return bytes;
  }());
}

TEST_CASE("refuses_what_ggml_refuses") {
  using enum ErrorKind;
  refuse("nested array", invalid_value,
         one_entry([](GgufBytes& f) { f.text("a").put<std::int32_t>(9).put<std::int32_t>(9).put<std::uint64_t>(0); }));
  refuse("duplicate key", invalid_value, one_entry([](GgufBytes& f) { f.u32_entry("a", 1).u32_entry("a", 2); }, 2));
  refuse("empty key", invalid_value, one_entry([](GgufBytes& f) { f.u32_entry("", 1); }));
  refuse("unknown value type", invalid_value,
         one_entry([](GgufBytes& f) { f.text("a").put<std::int32_t>(13).put<std::uint64_t>(0); }));
  refuse("name of 64 bytes", limit_exceeded, one_tensor(std::string(64, 'n'), {1}, 0, 4));
  refuse("five dimensions", invalid_value, one_tensor("n", {1, 1, 1, 1, 1}, 0, 4));
  refuse("negative extent", invalid_value, one_tensor("n", {-1}, 0, 4));
  refuse("product beyond 2^63", limit_exceeded, one_tensor("n", {1ll << 40, 1ll << 40}, 0, 4));
  refuse("rows that are no multiple of the block", invalid_value, one_tensor("n", {31}, 2, 36));
  for (const std::uint32_t id : {4u, 5u, 31u, 36u, 38u, 43u, 0xFFFFFFFFu})
    refuse("withdrawn or unknown type", unsupported, one_tensor("n", {1}, id, 64));
  refuse("alignment 48", invalid_value, one_entry([](GgufBytes& f) { f.u32_entry("general.alignment", 48); }));
  refuse("alignment 0", invalid_value, one_entry([](GgufBytes& f) { f.u32_entry("general.alignment", 0); }));
  refuse("alignment of type u64", invalid_value,
         one_entry([](GgufBytes& f) { f.text("general.alignment").put<std::int32_t>(10).put<std::uint64_t>(32); }));
  refuse("duplicate tensor name", invalid_value, [] {
    GgufBytes file;
    file.head(2, 0).info("n", {1}, 0, 0).info("n", {1}, 0, 32).align().zeros(64);
    return file.bytes;
  }());
  refuse("gap between tensors", invalid_value, [] {
    GgufBytes file;
    file.head(2, 0).info("a", {1}, 0, 0).info("b", {1}, 0, 64).align().zeros(128);
    return file.bytes;
  }());
  for (const std::uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    auto bytes = example();
    std::memcpy(bytes.data() + 4, &version, 4);
    refuse("version", unsupported_version, bytes);
  }
  refuse("data beyond the end", truncated, one_tensor("n", {100}, 0, 32));
  refuse("not GGUF", bad_magic, GgufBytes{}.put<std::uint64_t>(0x4C4D4747).zeros(64).bytes);
  refuse("counts beyond the file", truncated, GgufBytes{}.head(60000, 0).bytes);
  refuse("counts beyond our limit", limit_exceeded, GgufBytes{}.head(1ll << 40, 0).bytes);
  refuse("negative count", invalid_value, GgufBytes{}.head(0, -1).bytes);
}

TEST_CASE("errors_carry_the_offset") {
  const auto error = error_of([] { (void)parse_bytes(one_tensor("n", {31}, 2, 36), "test"); });
  REQUIRE(error);
  CHECK(error->offset == 24 + 8 + 1 + 4 + 8);  // the type field
  CHECK(std::string(error->what()).find("'n'") != std::string::npos);
}

TEST_CASE("every_prefix_of_a_gguf_file_is_refused_or_read") {
  const TemporaryDirectory directory;
  const std::vector<std::byte> whole = example();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const std::vector<std::byte> prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto error = error_of([&] { (void)parse_bytes(prefix, "test"); });
    const bool only_padding_missing = size >= 0x140 + 12;
    CHECK(error.has_value() == !only_padding_missing);
  }
}

TEST_CASE("mutated_headers_give_an_error_or_a_model_in_bounded_memory") {
  const TemporaryDirectory directory;
  const std::vector<std::byte> vocabulary = [] {
    GgufBytes file;
    file.head(4, 16).string_entry("general.architecture", "llama").string_entry("general.name", "tiny");
    for (const char* key : {"llama.block_count", "llama.context_length"}) file.u32_entry(key, 1);
    file.u32_entry("llama.embedding_length", 32)
        .u32_entry("llama.feed_forward_length", 32)
        .u32_entry("llama.attention.head_count", 2);
    file.text("llama.attention.layer_norm_rms_epsilon").put<std::int32_t>(6).put(1e-5f);
    file.u32_entry("general.alignment", 32)
        .string_entry("tokenizer.ggml.model", "gpt2")
        .string_entry("tokenizer.ggml.pre", "gpt-2");
    file.text("tokenizer.ggml.tokens")
        .put<std::int32_t>(9)
        .put<std::int32_t>(8)
        .put<std::uint64_t>(3)
        .text("a")
        .text("b")
        .text("ab");
    file.text("tokenizer.ggml.token_type")
        .put<std::int32_t>(9)
        .put<std::int32_t>(5)
        .put<std::uint64_t>(3)
        .put(1)
        .put(1)
        .put(3);
    file.text("tokenizer.ggml.merges").put<std::int32_t>(9).put<std::int32_t>(8).put<std::uint64_t>(1).text("a b");
    file.u32_entry("tokenizer.ggml.eos_token_id", 2).u32_entry("llama.rope.dimension_count", 16);
    file.info("token_embd.weight", {32, 3}, 8, 0)
        .info("blk.0.attn_q.weight", {32, 32}, 2, 128)
        .info("output_norm.weight", {32}, 0, 704);
    file.info("rope_freqs.weight", {8}, 0, 832).align();
    file.zeros(864);
    return file.bytes;
  }();
  REQUIRE(!error_of([&] { (void)convert::gguf::read_model(write(directory / "m.gguf", vocabulary), {}); }));
  std::mt19937_64 random(11);
  int read = 0;
  constexpr int kMutations = 10000;
  for (int i = 0; i < kMutations; ++i) {
    std::vector<std::byte> bytes = i % 2 == 0 ? example() : vocabulary;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int change = 0; change < changes; ++change) {
      const std::size_t at = random() % (bytes.size() - 8);
      switch (random() % 4) {
        case 0: bytes[at] = static_cast<std::byte>(random()); break;
        case 1: bytes[at] ^= static_cast<std::byte>(1u << random() % 8); break;
        case 2:
          store_le(bytes.data() + at,
                   random() % 2 == 0 ? ~std::uint64_t{0} >> random() % 64 : std::uint64_t{1} << random() % 64);
          break;
        default: bytes.resize(bytes.size() - random() % 64); break;
      }
      if (bytes.size() < 16) break;
    }
    CAPTURE(i);
    const std::filesystem::path path = directory / "m.gguf";
    {
      std::ofstream out(path, std::ios::binary | std::ios::trunc);
      out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    const std::int64_t before = memory_in_use();
    reset_memory_peak();
    try {
      const tensor::Model model = convert::gguf::read_model(path, {});
      for (const tensor::Tensor& tensor : model.tensors) {
        if (tensor.scheme.codes.kind == tensor::CodeKind::opaque || tensor.elements() > 1u << 16) continue;
        std::vector<float> values(tensor.elements());
        tensor::decode_logical(tensor, values);
      }
      ++read;
    } catch (const Error&) {
    }
    REQUIRE(memory_peak() - before < (std::int64_t{64} << 20) + static_cast<std::int64_t>(bytes.size()));
  }
  CHECK(read > 0);
  CHECK(read < kMutations);
}

TEST_CASE("shard_names") {
  using convert::gguf::parse_shard_name;
  const auto name = parse_shard_name("m-00002-of-00003.gguf");
  REQUIRE(name);
  CHECK(name->prefix == "m");
  CHECK(name->number == 2);
  CHECK(name->count == 3);
  CHECK(convert::gguf::shard_file_name("m", 2, 3) == "m-00002-of-00003.gguf");
  for (const char* other :
       {"m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "-00001-of-00001.gguf", "m-0001-of-00003.gguf"}) {
    CHECK(!parse_shard_name(other));
  }
}

TEST_CASE("missing_shards_are_named") {
  const TemporaryDirectory directory;
  write(directory / "m-00002-of-00003.gguf", example());
  const auto error = error_of([&] { (void)convert::gguf::shard_paths(directory / "m-00002-of-00003.gguf"); });
  REQUIRE(error);
  CHECK(error->kind == ErrorKind::io);
  CHECK(std::string(error->what()).find("m-00001-of-00003.gguf, m-00003-of-00003.gguf") != std::string::npos);
}

}  // namespace ingot::test
