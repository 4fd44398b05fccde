// restore on synthetic sources: segments, patches, and every way in which a hostile file could escape or lie.
#include <doctest/doctest.h>

#include <fstream>

#include "container_models.h"
#include "converters/registry.h"
#include "expect_error.h"
#include "temporary_directory.h"

using namespace ingot;
using test::throws_kind;

namespace {

namespace fs = std::filesystem;
using tensor::Segment;

constexpr std::uint64_t kLiteralBytes = 1000;
constexpr std::uint64_t kZeroBytes = (std::uint64_t{2} << 20) + 17;  // straddles blocks of the file hash

/// A source of one file: 1000 literal bytes, a run of zeros, 1000 literal bytes again, with one patched byte in the
/// zeros.
tensor::Model model_with_source() {
  tensor::Model model;
  model.layout = "hf";
  auto bytes = std::make_shared<std::vector<std::byte>>(kLiteralBytes);
  for (std::size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = static_cast<std::byte>(i * 7);
  model.attachments.push_back({"source/0/header", *bytes, bytes});
  tensor::SourceFile file;
  file.path = "sub/file.bin";
  file.size = 2 * kLiteralBytes + kZeroBytes;
  const Segment literal{Segment::Kind::literal, "source/0/header", 0, "", "", kLiteralBytes};
  file.segments = {literal, {Segment::Kind::zeros, "", 0, "", "", kZeroBytes}, literal};
  file.patches.push_back({kLiteralBytes + 5, "source/0/header", 1, 1});
  model.source = tensor::Source{"hf", {file}};
  std::vector<std::byte> whole = *bytes;
  whole.resize(kLiteralBytes + kZeroBytes);
  whole[kLiteralBytes + 5] = (*bytes)[1];
  whole.insert(whole.end(), bytes->begin(), bytes->end());
  model.source->files[0].hash = hash128_tree(whole);
  return model;
}

std::vector<convert::RestoredFile> restore(const tensor::Model& model, const fs::path& directory,
                                           bool overwrite = false) {
  return convert::restore(model, directory, overwrite, {});
}

}  // namespace

TEST_CASE("restore_joins_segments_and_patches") {
  const test::TemporaryDirectory directory;
  const tensor::Model model = model_with_source();
  const std::vector<convert::RestoredFile> files = restore(model, directory / "out");
  REQUIRE(files.size() == 1);
  CHECK(files[0].path == "sub/file.bin");
  const std::vector<std::byte> bytes = test::read_bytes(directory / "out" / "sub" / "file.bin");
  REQUIRE(bytes.size() == model.source->files[0].size);
  CHECK(hash128_tree(bytes) == model.source->files[0].hash);
  CHECK(bytes[kLiteralBytes + 5] == std::byte{7});
  CHECK(bytes[kLiteralBytes + 6] == std::byte{0});
  CHECK(bytes[kLiteralBytes + kZeroBytes + 3] == std::byte{21});
}

TEST_CASE("restore_rejects_paths_that_leave_the_directory") {
  for (const char* path : {"../x", "/x", "a/../../x", "a//b", "", ".", "..", "a/.", "a\\b", "a/"}) {
    CAPTURE(path);
    const test::TemporaryDirectory directory;
    tensor::Model model = model_with_source();
    model.source->files[0].path = path;
    CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)restore(model, directory / "out"); }));
    CHECK(!fs::exists(directory / "x"));
    CHECK(!fs::exists(directory / "out"));
  }
  const test::TemporaryDirectory directory;
  tensor::Model model = model_with_source();
  model.source->files[0].path = std::string("a\0b", 3);
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)restore(model, directory / "out"); }));
}

TEST_CASE("restore_does_not_follow_a_symbolic_link_out") {
  const test::TemporaryDirectory directory;
  fs::create_directories(directory / "elsewhere");
  fs::create_directories(directory / "out");
  fs::create_directory_symlink(directory / "elsewhere", directory / "out" / "sub");
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)restore(model_with_source(), directory / "out"); }));
  CHECK(fs::is_empty(directory / "elsewhere"));
}

TEST_CASE("restore_writes_no_file_whose_hash_differs") {
  const test::TemporaryDirectory directory;
  tensor::Model model = model_with_source();
  model.source->files[0].patches.clear();
  CHECK(throws_kind(ErrorKind::bad_checksum, [&] { (void)restore(model, directory / "out"); }));
  CHECK(!fs::exists(directory / "out" / "sub" / "file.bin"));
  CHECK(fs::is_empty(directory / "out" / "sub"));
}

TEST_CASE("restore_refuses_existing_files_unless_told") {
  const test::TemporaryDirectory directory;
  fs::create_directories(directory / "out" / "sub");
  std::ofstream(directory / "out" / "sub" / "file.bin") << "precious";
  CHECK(throws_kind(ErrorKind::io, [&] { (void)restore(model_with_source(), directory / "out"); }));
  CHECK(fs::file_size(directory / "out" / "sub" / "file.bin") == 8);
  CHECK(restore(model_with_source(), directory / "out", true).size() == 1);
}

TEST_CASE("restore_rejects_descriptions_that_do_not_add_up") {
  const auto rejects = [](void (*spoil)(tensor::SourceFile&), ErrorKind kind = ErrorKind::invalid_value) {
    const test::TemporaryDirectory directory;
    tensor::Model model = model_with_source();
    spoil(model.source->files[0]);
    return throws_kind(kind, [&] { (void)restore(model, directory / "out"); });
  };
  CHECK(rejects([](tensor::SourceFile& file) { file.size += 1; }));
  CHECK(rejects([](tensor::SourceFile& file) { file.segments.pop_back(); }));
  CHECK(rejects([](tensor::SourceFile& file) { file.segments[0].attachment = "absent"; }));
  CHECK(rejects([](tensor::SourceFile& file) { file.segments[0].begin = 1; }));
  CHECK(
      rejects([](tensor::SourceFile& file) { file.segments[0].begin = ~std::uint64_t{0}; }, ErrorKind::limit_exceeded));
  CHECK(
      rejects([](tensor::SourceFile& file) { file.segments[1].size = ~std::uint64_t{0}; }, ErrorKind::limit_exceeded));
  CHECK(rejects([](tensor::SourceFile& file) {
    file.segments[1] = {Segment::Kind::tensor, "", 0, "absent", "raw", kZeroBytes};
  }));
  CHECK(rejects([](tensor::SourceFile& file) { file.patches[0].offset = file.size; }));
  CHECK(rejects([](tensor::SourceFile& file) { file.patches[0].begin = kLiteralBytes; }));
  CHECK(rejects([](tensor::SourceFile& file) { file.patches.push_back(file.patches[0]); }));
}

TEST_CASE("restore_needs_a_source_of_a_known_layout") {
  const test::TemporaryDirectory directory;
  tensor::Model model = model_with_source();
  model.source->layout = "unheard-of";
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)restore(model, directory / "out"); }));
  model.source.reset();
  CHECK(throws_kind(ErrorKind::unsupported, [&] { (void)restore(model, directory / "out"); }));
  model = model_with_source();
  model.source->files.push_back(model.source->files[0]);
  CHECK(throws_kind(ErrorKind::invalid_value, [&] { (void)restore(model, directory / "out"); }));
}
