// Damage and malice: every truncation, every bit flip, forged indexes with valid checksums, thousands of mutations in
// bounded memory.
#include <doctest/doctest.h>

#include <fstream>

#include "container_forgery.h"
#include "container_models.h"
#include "counted_memory.h"
#include "expect_error.h"
#include "format/container/file.h"
#include "format/tensor/fingerprint.h"
#include "temporary_directory.h"

namespace ingot::test {
namespace {

std::vector<std::byte> file_of(const tensor::Model& model, const std::filesystem::path& path,
                               container::Compression compression = container::Compression::none) {
  (void)container::write(model, path, fast(compression));
  return read_bytes(path);
}

/// The manifest of a set whose members stay beside `path`.
std::vector<std::byte> manifest_of(const tensor::Model& model, const std::filesystem::path& path,
                                   std::uint64_t shard_bytes) {
  container::WriteOptions options = fast();
  options.shard_bytes = shard_bytes;
  (void)container::write(model, path, options);
  return read_bytes(path);
}

/// Changes one byte of a file in place.
void poke(const std::filesystem::path& path, std::uint64_t offset, std::byte value) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(value));
}

/// Bytes that no hash covers: gaps that are not padding.
std::vector<bool> dead_map(const std::filesystem::path& path) {
  const auto file = container::open_file(path);
  const auto extents = container::sorted_extents(file->index, file->header.current);
  std::vector<bool> dead(file->bytes().size(), false);
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (container::is_padding(extents[i - 1], extents[i])) continue;
    std::fill(dead.begin() + static_cast<std::ptrdiff_t>(extents[i - 1].end()),
              dead.begin() + static_cast<std::ptrdiff_t>(extents[i].offset), true);
  }
  std::fill(dead.begin() + static_cast<std::ptrdiff_t>(extents.back().end()), dead.end(), true);
  return dead;
}

/// Flips every bit of the file from byte `begin` on in turn; returns how many flips outside dead space went unnoticed.
std::uint64_t unnoticed_flips(const std::filesystem::path& path, std::uint64_t begin = 0) {
  const std::vector<std::byte> bytes = read_bytes(path);
  const std::vector<bool> dead = dead_map(path);
  std::uint64_t unnoticed = 0;
  const WithThreads one_thread(1);
  for (std::uint64_t at = begin; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      poke(path, at, bytes[at] ^ static_cast<std::byte>(1 << bit));
      const bool noticed = !container::verify(path, false, {}).findings.empty();
      if (noticed == dead[at]) {
        MESSAGE("byte " << at << " bit " << bit << (noticed ? " is dead but noticed" : " is not noticed"));
        ++unnoticed;
      }
    }
    poke(path, at, bytes[at]);
  }
  return unnoticed;
}

void collect_nodes(Json& json, std::vector<Json*>& nodes) {
  nodes.push_back(&json);
  if (json.is_object())
    for (JsonMember& one : json.object()) collect_nodes(one.second, nodes);
  if (json.is_array())
    for (Json& element : json.array()) collect_nodes(element, nodes);
}

Json random_value(Random& random) {
  switch (random.below(9)) {
    case 0: return Json(random.below(300));
    case 1: return Json((std::uint64_t{1} << 53) - random.below(3));
    case 2: return Json(-static_cast<std::int64_t>(random.below(200)));
    case 3: return Json(std::string(random.below(3), 'x'));
    case 4: return Json(JsonArray{});
    case 5: return Json(JsonObject{});
    case 6: return Json(true);
    case 7: return Json(std::uint64_t{1} << random.below(63));
    default: return Json(64 * random.below(200));
  }
}

/// Replaces, copies or removes random parts of the index, keeping checksums valid.
std::vector<std::byte> forge_index(const std::vector<std::byte>& file, Random& random) {
  return with_index(file, [&](Json& json) {
    for (std::uint64_t change = 1 + random.below(3); change > 0; --change) {
      std::vector<Json*> nodes;
      collect_nodes(json, nodes);
      Json& node = *nodes[1 + random.below(nodes.size() - 1)];
      const std::uint64_t kind = random.below(4);
      if (kind == 0 && node.is_array() && !node.array().empty()) {
        node.array().push_back(Json(node.array()[random.below(node.array().size())]));
      } else if (kind == 1 && node.is_object() && !node.object().empty()) {
        node.object().erase(node.object().begin() + static_cast<std::ptrdiff_t>(random.below(node.object().size())));
      } else if (kind == 2) {
        Json other = *nodes[1 + random.below(nodes.size() - 1)];  // a copy first: it may hold the node
        node = std::move(other);
      } else {
        node = random_value(random);
      }
    }
  });
}

std::vector<std::byte> mutate_bytes(std::vector<std::byte> file, Random& random) {
  for (std::uint64_t change = 1 + random.below(8); change > 0; --change) {
    const std::uint64_t at = random.below(3) == 0 ? 512 + random.below(640) : random.below(file.size());
    file[at % file.size()] =
        random.below(2) == 0 ? static_cast<std::byte>(random.next()) : file[at % file.size()] ^ std::byte{1};
  }
  if (random.below(8) == 0) file.resize(random.below(file.size()));
  return file;
}

/// Changes bytes of the index text, or of the chunk table, and fixes the checksums above them.
std::vector<std::byte> forge_bytes(const std::vector<std::byte>& file, Random& random) {
  std::string text = index_text_of(file);
  for (std::uint64_t change = 1 + random.below(3); change > 0; --change)
    text[random.below(text.size())] = static_cast<char>(random.next() % 128);
  return with_index_text(file, text);
}

std::vector<std::byte> forge_slot(const std::vector<std::byte>& file, Random& random) {
  return with_slot(file, [&](container::Slot& slot) {
    const std::uint64_t value = random.below(2) == 0 ? random.next() >> random.below(64) : 64 * random.below(100);
    switch (random.below(6)) {
      case 0: slot.index_offset = value; break;
      case 1: slot.index_size = value; break;
      case 2: slot.file_size = value; break;
      case 3: slot.required_features = value; break;
      case 4: slot.read_version = static_cast<std::uint32_t>(value); break;
      default: slot.generation = value; break;
    }
  });
}

}  // namespace

TEST_CASE("every truncation of a small file is rejected") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "small.ingot";
  const std::vector<std::byte> bytes = file_of(make_small_model(), path);
  std::uint64_t accepted = 0;
  for (std::uint64_t size = bytes.size(); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    const std::optional<Error> error = error_of([&] { (void)container::open(path); });
    accepted += !error || error->kind != ErrorKind::truncated;
    accepted += container::verify(path, false, {}).findings.empty();
  }
  CHECK(accepted == 0);
}

TEST_CASE("a dead tail is accepted, counted, and hides nothing") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "small.ingot";
  std::vector<std::byte> bytes = file_of(make_small_model(), path);
  bytes.resize(bytes.size() + 5000, std::byte{7});
  write_bytes(path, bytes);
  CHECK(container::open(path).tensors.size() == 1);
  const container::VerifyResult result = container::verify(path, true, {});
  CHECK(result.findings.empty());
  CHECK(result.dead_bytes == 5000);
  CHECK(container::facts(path).dead_bytes == 5000);
  container::edit_metadata(path, {{"a", "b"}});  // an edit cuts the tail off before it appends
  CHECK(std::filesystem::file_size(path) == slot_of(read_bytes(path), 1).file_size);
}

TEST_CASE("every single-bit flip of a small file is noticed") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "small.ingot";
  (void)container::write(make_small_model(), path, fast());
  CHECK(unnoticed_flips(path) == 0);
}

TEST_CASE("every single-bit flip of an edited, compressed file is noticed, except in dead space") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "small.ingot";
  tensor::Model model = make_small_model();
  model.tensors = {make_tensor("w", {40, 5}, tensor::Scheme::plain(tensor::DType::f32), tensor::Packing::rows, 5)};
  (void)container::write(model, path, fast(container::Compression::zstd));
  REQUIRE(container::facts(path).required_features == 1);
  container::edit_metadata(path, {{"general.name", "edited"}});
  CHECK(unnoticed_flips(path) == 0);
}

TEST_CASE("every single-bit flip of what the manifest of a set holds is noticed") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "set.ingot";
  (void)manifest_of(make_small_model(), path, 1);
  REQUIRE(container::facts(path).members.size() == 1);
  CHECK(unnoticed_flips(path, container::kHeaderBytes) == 0);
}

TEST_CASE("forged indexes are rejected") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "forged.ingot";
  const std::vector<std::byte> good = file_of(make_model_of_all_schemes(), path);
  const auto rejects = [&](ErrorKind kind, const char* what, const std::function<void(Json&)>& change) {
    write_bytes(path, with_index(good, change));
    const std::optional<Error> error = error_of([&] { (void)container::open(path); });
    CHECK_MESSAGE(error.has_value(), std::string(what));
    if (error) CHECK_MESSAGE(error->kind == kind, (std::string(what) + ": " + error->what()));
  };
  const auto tensor = [](Json& json, std::size_t i) -> Json& { return member(json, "tensors").array()[i]; };
  const auto plane = [&](Json& json, std::size_t i) -> Json& { return member(tensor(json, i), "planes").array()[0]; };
  const auto attachment = [](Json& json, std::size_t i) -> Json& { return member(json, "attachments").array()[i]; };
  const auto file = [](Json& json) -> Json& { return member(member(json, "source"), "files").array()[0]; };
  const std::uint64_t huge = (std::uint64_t{1} << 53) - 1;
  const ErrorKind invalid = ErrorKind::invalid_value;

  rejects(invalid, "huge row count", [&](Json& j) { member(j, "chunk_table").set("rows", huge); });
  rejects(invalid, "one row less", [&](Json& j) {
    Json& table = member(j, "chunk_table");
    table.set("rows", table.at("rows", "").as_u64("") - 1);
  });
  rejects(invalid, "one row more", [&](Json& j) {
    Json& table = member(j, "chunk_table");
    table.set("rows", table.at("rows", "").as_u64("") + 1);
  });
  rejects(invalid, "chunk table at the header", [&](Json& j) { member(j, "chunk_table").set("offset", 1024); });
  rejects(invalid, "huge plane offset", [&](Json& j) { plane(j, 0).set("offset", huge - 63); });
  rejects(invalid, "overlapping planes", [&](Json& j) { plane(j, 1).set("offset", plane(j, 0).at("offset", "")); });
  rejects(invalid, "plane over the chunk table",
          [&](Json& j) { plane(j, 1).set("offset", member(j, "chunk_table").at("offset", "")); });
  rejects(invalid, "huge plane size", [&](Json& j) { plane(j, 0).set("size", huge); });
  rejects(invalid, "plane size off by one",
          [&](Json& j) { plane(j, 0).set("size", plane(j, 0).at("size", "").as_u64("") + 1); });
  rejects(invalid, "stored size without compression", [&](Json& j) { plane(j, 0).set("stored", 5); });
  rejects(invalid, "compressed attachment", [&](Json& j) { attachment(j, 0).set("stored", 1); });
  rejects(invalid, "huge attachment", [&](Json& j) { attachment(j, 0).set("size", huge); });
  rejects(invalid, "first chunk of another blob",
          [&](Json& j) { plane(j, 1).set("first_chunk", plane(j, 0).at("first_chunk", "")); });
  rejects(invalid, "huge first chunk", [&](Json& j) { plane(j, 1).set("first_chunk", huge); });
  rejects(invalid, "tensor twice", [&](Json& j) { tensor(j, 1).set("name", tensor(j, 0).at("name", "")); });
  rejects(invalid, "attachment twice", [&](Json& j) { attachment(j, 1).set("name", attachment(j, 0).at("name", "")); });
  rejects(invalid, "attachment outside", [&](Json& j) { attachment(j, 1).set("name", "a/../../b"); });
  rejects(invalid, "missing plane", [&](Json& j) { tensor(j, 0).set("planes", JsonArray{}); });
  rejects(invalid, "extent that the plane does not fit",
          [&](Json& j) { tensor(j, 0).set("shape", JsonArray{Json(huge / 8)}); });
  rejects(ErrorKind::limit_exceeded, "bytes of a plane",
          [&](Json& j) { tensor(j, 0).set("shape", JsonArray{Json(huge)}); });
  rejects(ErrorKind::limit_exceeded, "elements", [&](Json& j) {
    tensor(j, 0).set("shape", JsonArray{Json(huge), Json(huge)});
  });
  rejects(ErrorKind::limit_exceeded, "elements with a zero", [&](Json& j) {
    tensor(j, 0).set("shape", JsonArray{Json(huge), Json(huge), Json(0)});
  });
  rejects(ErrorKind::limit_exceeded, "rank", [&](Json& j) { tensor(j, 0).set("shape", JsonArray(9, Json(1))); });
  rejects(ErrorKind::limit_exceeded, "name", [&](Json& j) { tensor(j, 0).set("name", std::string(1025, 'n')); });
  rejects(ErrorKind::limit_exceeded, "depth", [&](Json& j) {
    Json nested;
    for (int i = 0; i < 17; ++i) nested = Json(JsonArray{nested.is_null() ? Json(1) : nested});
    j.set("unknown", nested);
  });
  rejects(invalid, "negative offset", [&](Json& j) { plane(j, 0).set("offset", -64); });
  rejects(invalid, "number beyond 2^53", [&](Json& j) { j.set("unknown", huge + 1); });
  rejects(invalid, "fraction", [&](Json& j) { j.set("unknown", 0.5); });
  rejects(invalid, "null", [&](Json& j) { j.set("unknown", Json()); });
  rejects(invalid, "unknown member of a tensor", [&](Json& j) { tensor(j, 0).set("comment", "x"); });
  rejects(invalid, "unknown member of a plane", [&](Json& j) { plane(j, 0).set("comment", "x"); });
  rejects(invalid, "upper-case hash", [&](Json& j) { tensor(j, 0).set("fingerprint", std::string(32, 'A')); });
  rejects(ErrorKind::bad_checksum, "hash of the rows", [&](Json& j) { plane(j, 0).set("hash", std::string(32, 'a')); });
  rejects(invalid, "alias of an alias", [&](Json& j) { member(j, "aliases").set("a", "lm_head.weight"); });
  rejects(invalid, "format version", [&](Json& j) { j.set("ingot", 2); });
  rejects(invalid, "chunk size", [&](Json& j) { j.set("chunk_bytes", 65536); });
  rejects(invalid, "a set without members", [&](Json& j) { j.set("set", JsonObject{}); });
  rejects(invalid, "add_one of integers", [&](Json& j) {
    for (Json& entry : member(j, "tensors").array())
      if (member(entry, "scheme").at("codes", "").at("type", "").as_string("") == "i32")
        entry.set("transforms", JsonArray{Json(JsonObject{{"kind", Json("add_one")}})});
  });
  rejects(invalid, "no heads", [&](Json& j) {
    tensor(j, 0).set("transforms", JsonArray{Json(JsonObject{{"kind", Json("rope_interleave")}, {"heads", Json(0)}})});
  });
  rejects(invalid, "huge heads", [&](Json& j) {
    tensor(j, 0).set("transforms",
                     JsonArray{Json(JsonObject{{"kind", Json("rope_interleave")}, {"heads", Json(huge)}})});
  });
  for (const char* bad : {"../x", "/x", "a//b", "a/./b", "a/..", "a\\b", "", "a/", "."}) {
    rejects(invalid, bad, [&](Json& j) { file(j).set("path", bad); });
  }
  rejects(invalid, "NUL in a path", [&](Json& j) { file(j).set("path", std::string("a\0b", 3)); });
  rejects(ErrorKind::limit_exceeded, "long path", [&](Json& j) { file(j).set("path", std::string(4097, 'p')); });
  rejects(invalid, "segment outside its attachment",
          [&](Json& j) { member(file(j), "segments").array()[0].set("begin", huge); });
  rejects(invalid, "segment kind", [&](Json& j) { member(file(j), "segments").array()[0].set("kind", "shell"); });
  rejects(invalid, "patch outside the file",
          [&](Json& j) { member(file(j), "patches").array()[1].set("offset", huge); });
  rejects(invalid, "patches out of order", [&](Json& j) { member(file(j), "patches").array()[1].set("offset", 0); });
  rejects(invalid, "source size", [&](Json& j) { file(j).set("size", 19); });

  write_bytes(path, with_index(good, [&](Json& j) { j.set("from_the_future", JsonArray{Json(1)}); }));
  CHECK(container::open(path).tensors.size() == make_model_of_all_schemes().tensors.size());
}

TEST_CASE("an index that is not canonical opens, and verify says so") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "forged.ingot";
  const std::vector<std::byte> good = file_of(make_small_model(), path);
  const std::string text = index_text_of(good);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.substr(0, at) + to + text.substr(at + from.size());
  };
  const std::vector<std::string> spellings = {
      text + " ", replaced("{\"aliases\":{},", "{").insert(1, "\"unsorted\":1,\"aliases\":{},"),
      replaced("\"small\"", "\"sm\\u0061ll\""), replaced("\"hf/config.json\"", "\"hf\\/config.json\""),
      replaced(":1,", ": 1,")};
  for (const std::string& spelling : spellings) {
    write_bytes(path, with_index_text(good, spelling));
    CHECK_MESSAGE(container::open(path).tensors.size() == 1, spelling);
    const std::vector<container::Finding> findings = container::verify(path, true, {}).findings;
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].kind == ErrorKind::invalid_value);
    CHECK(findings[0].offset >= slot_of(good, 0).index_offset);
  }
}

TEST_CASE("a slot with a byte where zeros belong is not valid, whatever its checksum") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "forged.ingot";
  const std::vector<std::byte> good = file_of(make_small_model(), path);
  for (std::uint64_t at = 88; at < 120; ++at) {
    std::vector<std::byte> forged = good;
    forged[512 + at] = std::byte{1};
    store_le(&forged[512 + 120], hash64(Bytes(&forged[512], 120)));
    write_bytes(path, forged);
    CHECK(throws_kind(ErrorKind::bad_checksum, [&] { (void)container::open(path); }));
  }
}

TEST_CASE("reading a damaged compressed chunk is an error, reading its neighbours is not") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "damaged.ingot";
  std::vector<std::byte> bytes = file_of(make_large_model(SourceKind::views), path, container::Compression::zstd);
  const auto file = container::open_file(path);
  const container::Blob blob = file->index.planes[0][0];
  const std::uint64_t second_chunk = blob.offset + file->row(blob.first_chunk).stored_size;
  bytes[second_chunk + 1000] ^= std::byte{1};
  write_bytes(path, bytes);
  const tensor::Model model = container::open(path);
  const std::uint64_t row_bytes = model.tensors[0].plane_specs()[0].unit_bytes;
  const auto read_row = [&](std::uint64_t row) {
    std::vector<std::byte> row_of_bytes(row_bytes);
    std::vector<std::byte*> out = {row_of_bytes.data()};
    model.tensors[0].planes->read_units(row, row + 1, out);
  };
  read_row(0);
  const std::uint64_t damaged_row = container::kChunkBytes / row_bytes + 5;
  for (int repeat = 0; repeat < 2; ++repeat) {
    const std::optional<Error> error = error_of([&] { read_row(damaged_row); });
    REQUIRE(error.has_value());
    CHECK(error->kind == ErrorKind::bad_checksum);
    CHECK(error->offset == second_chunk);
  }
  read_row(1499);
}

TEST_CASE("a forged zstd chunk cannot grow beyond its raw size") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "forged.ingot";
  tensor::Model model = make_small_model();
  const tensor::Scheme u8 = tensor::Scheme::plain(tensor::DType::u8);
  model.tensors = {make_tensor("w", {4096}, u8, tensor::Packing::rows, 5)};
  model.tensors[0].planes = tensor::planes_in_memory({std::vector<std::byte>(4096)}, {4096}, u8, tensor::Packing::rows);
  const std::vector<std::byte> good = file_of(model, path, container::Compression::zstd);
  // Another frame of the same stored size: longer content, shorter content, trailing bytes; the hashes above are made
  // to fit.
  const auto file = container::open_file(path);
  const container::Blob blob = file->index.planes[0][0];
  const container::ChunkRow row = file->row(blob.first_chunk);
  for (std::uint64_t at = 0; at < row.stored_size; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> forged = good;
      forged[blob.offset + at] ^= static_cast<std::byte>(1 << bit);
      container::ChunkRow forged_row = row;
      forged_row.hash = hash128(Bytes(forged.data() + blob.offset, row.stored_size));
      const std::vector<std::byte> row_bytes = container::encode_chunk_rows(std::span(&forged_row, 1));
      std::copy(row_bytes.begin(), row_bytes.end(),
                forged.begin() + static_cast<std::ptrdiff_t>(file->index.chunk_table_offset +
                                                             blob.first_chunk * container::kChunkRowBytes));
      const Hash128 rows_hash = hash128(row_bytes);
      forged = with_index(forged, [&](Json& j) {
        member(member(j, "tensors").array()[0], "planes").array()[0].set("hash", rows_hash.hex());
      });
      forged = with_slot(forged, [&](container::Slot& slot) { slot.data_root = hash128(rows_hash.bytes); });
      write_bytes(path, forged);
      REQUIRE(container::open(path).tensors.size() == 1);
      const container::VerifyResult result = container::verify(path, true, {});
      const std::vector<std::byte> zeros(4096);
      bool reads_equal = false;
      (void)error_of([&] { reads_equal = plane_bytes(container::open(path).tensors[0], 0) == zeros; });
      CHECK(reads_equal == result.findings.empty());
    }
  }
}

TEST_CASE("ten thousand mutations end in success or an Error, in bounded memory") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "mutated.ingot";
  tensor::Model few = make_model_of_all_schemes();
  std::erase_if(few.tensors, [&](const tensor::Tensor& one) {
    return one.name != "plain.u8" && one.name != "plain.bf16" && one.stored_bytes() > 600;
  });
  const std::vector<std::vector<std::byte>> bases = {
      file_of(make_model_of_all_schemes(), path), file_of(make_small_model(), path), file_of(few, path),
      file_of(few, path, container::Compression::zstd), manifest_of(few, path, 8000)};
  Random random(20260101);
  std::int64_t worst = 0;
  const WithThreads one_thread(1);
  for (int i = 0; i < 10000; ++i) {
    const std::vector<std::byte>& base = bases[i % 8 == 0 ? 0 : 1 + random.below(bases.size() - 1)];
    std::vector<std::byte> mutated;
    switch (random.below(4)) {
      case 0: mutated = mutate_bytes(base, random); break;
      case 1: mutated = forge_bytes(base, random); break;
      case 2: mutated = forge_slot(base, random); break;
      default: mutated = forge_index(base, random); break;
    }
    write_bytes(path, mutated);
    const std::int64_t before = memory_in_use();
    reset_memory_peak();
    (void)container::verify(path, true, {});  // opens, reads and decodes everything; what it throws is an Error
    worst = std::max(worst, memory_peak() - before - static_cast<std::int64_t>(mutated.size()));
  }
  CHECK(worst < std::int64_t{64} << 20);
}

TEST_CASE("something else than an .ingot file is named as such") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "other";
  write_bytes(path, std::vector<std::byte>(5000, std::byte{'x'}));
  CHECK(throws_kind(ErrorKind::bad_magic, [&] { (void)container::open(path); }));
  CHECK(throws_kind(ErrorKind::io, [&] { (void)container::open(directory / "absent"); }));
  CHECK(throws_kind(ErrorKind::io, [&] { (void)container::verify(directory / "absent", false, {}); }));
  CHECK(!container::looks_like_ingot(as_bytes_view("GGUF")));
}

}  // namespace ingot::test
