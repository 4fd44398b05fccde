// Hashes in passing against the tree hash of the whole file.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "format/base/output_file.h"
#include "format/base/parallel.h"
#include "format/base/passing_hash.h"
#include "tests/temporary_directory.h"

namespace ingot::test {
namespace {

std::shared_ptr<const MappedFile> random_file(const std::filesystem::path& path, std::uint64_t size,
                                              std::mt19937_64& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  write_file_atomically(path, bytes);
  return std::make_shared<const MappedFile>(path);
}

/// Cuts of [0, size) at places that fit no block.
std::vector<std::uint64_t> random_cuts(std::uint64_t size, std::mt19937_64& random) {
  std::vector<std::uint64_t> cuts = {0, size};
  for (int i = 0; i < 9 && size > 0; ++i) cuts.push_back(random() % size);
  std::sort(cuts.begin(), cuts.end());
  return cuts;
}

}  // namespace

TEST_CASE("hashes_in_passing_equal_the_tree_hash_whatever_was_seen") {
  const TemporaryDirectory directory;
  std::mt19937_64 random(11);
  std::vector<std::shared_ptr<const MappedFile>> files;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{5}, kTreeBlockBytes, 3 * kTreeBlockBytes + 77})
    files.push_back(random_file(directory / std::to_string(size).c_str(), size, random));
  const std::vector<std::byte> foreign(kTreeBlockBytes);
  for (const std::uint64_t seen_in_eight : {0u, 3u, 8u}) {
    PassingHashes hashes(files);
    for (const auto& file : files) {
      const std::vector<std::uint64_t> cuts = random_cuts(file->size(), random);
      parallel_for(cuts.size() - 1, 1, [&](std::uint64_t begin, std::uint64_t end, int) {
        for (std::uint64_t i = begin; i < end; ++i)
          if (i % 8 < seen_in_eight) hashes.saw(file->bytes().subspan(cuts[i], cuts[i + 1] - cuts[i]));
      });
      const std::uint64_t from = cuts[cuts.size() / 3], to = cuts[2 * cuts.size() / 3];
      hashes.will_read(file->bytes().subspan(from, to - from));
    }
    hashes.saw(foreign);
    hashes.will_read(foreign);
    for (std::size_t i = 0; i < files.size(); ++i) CHECK(hashes.finish(i) == hash128_tree(files[i]->bytes()));
  }
}

TEST_CASE("hashes_in_passing_are_taken_when_the_bytes_are_seen") {
  bool ahead = false;
  SUBCASE("seen") {}
  SUBCASE("about_to_be_read") { ahead = true; }
  const TemporaryDirectory directory;
  std::mt19937_64 random(12);
  const std::filesystem::path path = directory / "file";
  const auto before = random_file(path, 2 * kTreeBlockBytes, random);
  PassingHashes hashes({nullptr, before});
  if (ahead) {
    hashes.will_read(before->bytes());
  } else {
    hashes.saw(before->bytes());
  }
  const Hash128 expected = hash128_tree(before->bytes());
  {  // the mapping shows what the file holds now: a hash taken later would be another
    std::FILE* const file = std::fopen(path.c_str(), "r+b");
    REQUIRE(file != nullptr);
    std::fputs("changed", file);
    std::fclose(file);
  }
  REQUIRE(hash128_tree(before->bytes()) != expected);
  CHECK(hashes.finish(1) == expected);
}

}  // namespace ingot::test
