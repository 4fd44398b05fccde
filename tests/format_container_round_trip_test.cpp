// What is written is what is opened: every scheme, raw and compressed, from views and from streams, with any number of
// threads.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "container_models.h"
#include "counted_memory.h"
#include "expect_error.h"
#include "format/base/parallel.h"
#include "format/container/file.h"
#include "format/tensor/fingerprint.h"
#include "temporary_directory.h"

namespace ingot::test {
namespace {

using container::Compression;

void check_same_tensor(const tensor::Tensor& expected, const tensor::Tensor& got) {
  INFO(expected.name);
  CHECK(got.name == expected.name);
  CHECK(got.shape == expected.shape);
  CHECK(got.scheme == expected.scheme);
  CHECK(got.packing == expected.packing);
  CHECK(got.transforms == expected.transforms);
  CHECK(got.derived == expected.derived);
  REQUIRE(got.fingerprint.has_value());
  CHECK(*got.fingerprint == tensor::fingerprint(expected));
  CHECK(tensor::fingerprint(got) == *got.fingerprint);
  for (std::size_t i = 0; i < expected.plane_specs().size(); ++i)
    CHECK(plane_bytes(got, i) == plane_bytes(expected, i));
}

void check_same_source(const tensor::Source& expected, const tensor::Source& got) {
  CHECK(container::source_to_json(got) == container::source_to_json(expected));
}

void check_same_model(const tensor::Model& expected, const tensor::Model& got) {
  CHECK(got.config == expected.config);
  CHECK(got.tokenizer == expected.tokenizer);
  CHECK(got.metadata == expected.metadata);
  CHECK(got.aliases == expected.aliases);
  CHECK(got.layout == expected.layout);
  REQUIRE(got.attachments.size() == expected.attachments.size());
  for (std::size_t i = 0; i < got.attachments.size(); ++i) {
    CHECK(got.attachments[i].name == expected.attachments[i].name);
    CHECK(as_text(got.attachments[i].bytes) == as_text(expected.attachments[i].bytes));
  }
  REQUIRE(got.source.has_value() == expected.source.has_value());
  if (expected.source) check_same_source(*expected.source, *got.source);
  REQUIRE(got.tensors.size() == expected.tensors.size());
  for (std::size_t i = 0; i < got.tensors.size(); ++i) check_same_tensor(expected.tensors[i], got.tensors[i]);
}

void check_intact(const std::filesystem::path& path) {
  const container::VerifyResult result = container::verify(path, true, {});
  for (const container::Finding& finding : result.findings) FAIL_CHECK(finding.message);
  CHECK(result.dead_bytes == 0);
  CHECK(result.checked_bytes == std::filesystem::file_size(path));
}

/// Bytes made on demand, so that only the writer's memory counts.
class GeneratedPlanes final : public tensor::PlaneSource {
 public:
  explicit GeneratedPlanes(std::uint64_t unit_bytes) : unit_bytes_(unit_bytes) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    for (std::uint64_t i = 0; i < (end - begin) * unit_bytes_; ++i)
      out[0][i] = static_cast<std::byte>((begin * unit_bytes_ + i) * 2654435761u >> 20);
  }
  [[nodiscard]] Bytes whole(std::size_t) const override { return {}; }

 private:
  std::uint64_t unit_bytes_;
};

}  // namespace

TEST_CASE("a model of all schemes comes back as it was, raw and compressed, from views and streams") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    for (const SourceKind kind : {SourceKind::views, SourceKind::streamed}) {
      const tensor::Model model = make_model_of_all_schemes(kind);
      const container::WriteResult result = container::write(model, path, fast(compression));
      CHECK(result.file_bytes == std::filesystem::file_size(path));
      CHECK(result.root == container::facts(path).root);
      REQUIRE(result.fingerprints.size() == model.tensors.size());
      check_same_model(model, container::open(path));
      check_intact(path);
    }
  }
}

TEST_CASE("tensors of several chunks come back, raw and compressed, from views and streams") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    for (const SourceKind kind : {SourceKind::views, SourceKind::streamed}) {
      const tensor::Model model = make_large_model(kind);
      (void)container::write(model, path, fast(compression));
      check_same_model(model, container::open(path));
      check_intact(path);
      CHECK((container::facts(path).required_features == 1) == (compression == Compression::zstd));
    }
  }
}

TEST_CASE("the bytes of a file do not depend on threads or on the kind of source") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    std::set<Hash128> hashes;
    for (const SourceKind kind : {SourceKind::views, SourceKind::streamed}) {
      for (const int threads : {1, 2, 5}) {
        const WithThreads with(threads);
        (void)container::write(make_large_model(kind), path, fast(compression));
        hashes.insert(hash128(read_bytes(path)));
      }
    }
    CHECK(hashes.size() == 1);
  }
}

TEST_CASE("raw planes are views of the mapping and start at aligned offsets") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  (void)container::write(make_large_model(SourceKind::views), path, fast());
  const tensor::Model model = container::open(path);
  const auto file = container::open_file(path);
  for (std::size_t t = 0; t < model.tensors.size(); ++t) {
    for (std::size_t i = 0; i < file->index.planes[t].size(); ++i) {
      const std::optional<Bytes> view = model.tensors[t].planes->view(i);
      REQUIRE(view.has_value());
      CHECK(reinterpret_cast<std::uintptr_t>(view->data()) % (view->size() >= 65536 ? 4096 : 64) == 0);
      CHECK(file->index.planes[t][i].offset % (view->size() >= 65536 ? 4096 : 64) == 0);
    }
  }
}

TEST_CASE("compressed planes are read in any order and size of unit ranges") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  const tensor::Model source = make_large_model(SourceKind::views);
  (void)container::write(source, path, fast(Compression::zstd));
  const tensor::Model model = container::open(path);
  Random random(3);
  for (std::size_t t = 0; t < model.tensors.size(); ++t) {
    const tensor::Tensor& tensor = model.tensors[t];
    const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
    const std::uint64_t units = tensor.geometry().units;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const std::uint64_t begin = random.below(units), end = begin + 1 + random.below(units - begin);
      for (std::size_t i = 0; i < specs.size(); ++i) {
        if (!specs[i].sliced) continue;
        std::vector<std::byte> expected((end - begin) * specs[i].unit_bytes), got(expected.size());
        std::vector<std::byte*> out(specs.size(), nullptr);
        out[i] = expected.data();
        source.tensors[t].planes->read_units(begin, end, out);
        out[i] = got.data();
        tensor.planes->read_units(begin, end, out);
        CHECK(got == expected);
      }
      tensor.planes->done_with(begin, end);
    }
  }
}

TEST_CASE("the chunk cache fills a chunk once, forgets the oldest, and tries again after a failure") {
  container::ChunkCache cache;
  std::map<std::uint64_t, int> fills;
  const auto get = [&](std::uint64_t row) {
    const auto bytes = cache.get(row, 3, [&](container::ChunkDecoder&, std::span<std::byte> raw) {
      if (++fills[row] == 1 && row == 99) throw Error(ErrorKind::bad_checksum, "first try");
      std::fill(raw.begin(), raw.end(), static_cast<std::byte>(row));
    });
    CHECK(*bytes == std::vector<std::byte>(3, static_cast<std::byte>(row)));
  };
  for (int repeat = 0; repeat < 3; ++repeat) get(1);
  CHECK(fills[1] == 1);
  CHECK(throws_kind(ErrorKind::bad_checksum, [&] { get(99); }));
  get(99);
  CHECK(fills[99] == 2);
  for (std::uint64_t row = 2; row < 60; ++row) get(row);
  get(1);
  CHECK(fills[1] == 2);
}

TEST_CASE("several threads read one compressed tensor") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  const tensor::Model source = make_large_model(SourceKind::views);
  (void)container::write(source, path, fast(Compression::zstd));
  const tensor::Model model = container::open(path);
  const tensor::Tensor& tensor = model.tensors[0];
  std::vector<std::byte> got(tensor.stored_bytes());
  const WithThreads with(5);
  parallel_for(tensor.geometry().units, 7, [&](std::uint64_t begin, std::uint64_t end, int) {
    std::vector<std::byte*> out = {got.data() + begin * tensor.plane_specs()[0].unit_bytes};
    tensor.planes->read_units(begin, end, out);
  });
  CHECK(got == plane_bytes(source.tensors[0], 0));
}

TEST_CASE("a plane that hardly compresses and one that vanishes keep the alignment rule") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  const tensor::Scheme f32 = tensor::Scheme::plain(tensor::DType::f32);
  const tensor::Shape shape = {30, 1 << 18};  // 30 MiB: more than one batch of the writer
  tensor::Model model;
  model.tensors = {make_tensor("noise", {70000}, tensor::Scheme::plain(tensor::DType::u8), tensor::Packing::rows, 1)};
  std::vector<std::vector<std::byte>> zeros(1, std::vector<std::byte>(30 << 20));
  std::vector<std::vector<std::byte>> noise(1, std::vector<std::byte>(70000));
  Random random(9);
  for (std::byte& byte : noise[0]) byte = static_cast<std::byte>(random.next());
  model.tensors[0].planes = tensor::planes_in_memory(noise, {70000}, model.tensors[0].scheme, tensor::Packing::rows);
  model.tensors.push_back(model.tensors[0]);
  model.tensors[1].name = "zeros";
  model.tensors[1].shape = shape;
  model.tensors[1].scheme = f32;
  model.tensors[1].planes = tensor::planes_in_memory(zeros, shape, f32, tensor::Packing::rows);
  for (std::size_t i = zeros[0].size() - (std::size_t{2} << 20); i < zeros[0].size(); ++i)
    zeros[0][i] = static_cast<std::byte>(random.next());
  model.tensors.push_back(model.tensors[1]);
  model.tensors[2].name = "zeros, then noise";  // small after the writer's first batch, large in the end
  model.tensors[2].planes = tensor::planes_in_memory(zeros, shape, f32, tensor::Packing::rows);
  (void)container::write(model, path, fast(Compression::zstd));
  const auto file = container::open_file(path);
  CHECK(file->index.planes[2][0].stored > (2 << 20));
  CHECK(file->index.planes[2][0].offset % 4096 == 0);
  CHECK(file->index.planes[0][0].stored == 70000);  // raw: it does not shrink
  CHECK(file->index.planes[0][0].offset % 4096 == 0);
  CHECK(file->index.planes[1][0].stored < 65536);
  check_intact(path);
  check_same_model(model, container::open(path));
}

TEST_CASE("writing, verifying and compacting need less than 64 MiB, whatever the size of the model") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  tensor::Model model;
  tensor::Tensor& one = model.tensors.emplace_back();
  one.name = "w";
  one.shape = {48 << 10, 1111};  // 104 MiB; rows straddle the chunks and the windows of the writer
  one.scheme = tensor::Scheme::plain(tensor::DType::f16);
  one.planes = std::make_shared<GeneratedPlanes>(2222);
  for (const Compression compression : {Compression::none, Compression::zstd}) {
    const std::int64_t before = memory_in_use();
    reset_memory_peak();
    (void)container::write(model, path, fast(compression));
    CHECK(container::verify(path, true, {}).findings.empty());
    (void)container::compact(path, fast(compression));
    CHECK(memory_peak() - before < std::int64_t{64} << 20);
  }
}

TEST_CASE("writing reports progress up to the total") {
  const TemporaryDirectory directory;
  container::WriteOptions options = fast();
  std::uint64_t last = 0, total = 0;
  bool is_ascending = true;
  options.progress = [&](std::string_view phase, std::uint64_t done, std::uint64_t all) {
    is_ascending &= done >= last && phase == "writing";
    last = done;
    total = all;
  };
  (void)container::write(make_large_model(SourceKind::streamed), directory / "model.ingot", options);
  CHECK(is_ascending);
  CHECK(total > 10 << 20);
  CHECK(last == total);
}

TEST_CASE("the writer refuses models that no reader would open, and leaves no file behind") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  const auto refuses = [&](ErrorKind kind, const auto& change) {
    tensor::Model model = make_model_of_all_schemes();
    change(model);
    CHECK(throws_kind(kind, [&] { (void)container::write(model, path, fast()); }));
    CHECK(std::filesystem::is_empty(directory.path()));
  };
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.tensors[1].name = m.tensors[0].name; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.tensors[1].name.clear(); });
  refuses(ErrorKind::limit_exceeded, [](tensor::Model& m) { m.tensors[1].name.assign(1025, 'x'); });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.aliases["a"] = "nothing"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.aliases["scalar"] = "vector"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.attachments[1].name = m.attachments[0].name; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.attachments[0].name = "../x"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.attachments[2].name = "ingot/tokenizer.json"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.source->files[0].path = "/etc/passwd"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.source->files[0].size += 1; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.source->files[0].segments[1].tensor = "nothing"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.source->files[0].patches[1].offset = 3; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.metadata[""] = "x"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.metadata["x"] = "\xFF"; });
  refuses(ErrorKind::invalid_value, [](tensor::Model& m) { m.tensors[0].planes = nullptr; });
  refuses(ErrorKind::mismatch, [](tensor::Model& m) { m.tensors[0].fingerprint = Hash128{}; });
}

TEST_CASE("an attachment of several chunks and a tensor without elements") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.ingot";
  tensor::Model model = make_small_model();
  const auto text = std::make_shared<const std::string>((std::size_t{2} << 20) + 17, 'q');
  model.attachments.push_back({"hf/big.bin", as_bytes_view(*text), text});
  model.tensors.push_back(
      make_tensor("none", {4, 0}, tensor::Scheme::plain(tensor::DType::f32), tensor::Packing::rows, 1));
  (void)container::write(model, path, fast(Compression::zstd));
  check_same_model(model, container::open(path));
  check_intact(path);
}

}  // namespace ingot::test
