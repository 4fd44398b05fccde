// XXH3 against the values of the xxhsum tool (tests/data/xxh3/make_vectors).
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <vector>

#include "format/base/hash.h"

using namespace ingot;

namespace {

struct Vector {
  std::size_t length = 0;
  std::string hash128_hex;
  std::string hash64_hex;
};

std::vector<Vector> read_vectors() {
  std::ifstream file(INGOT_TEST_DATA "/data/xxh3/vectors.txt");
  std::vector<Vector> vectors;
  Vector vector;
  while (file >> vector.length >> vector.hash128_hex >> vector.hash64_hex) vectors.push_back(vector);
  return vectors;
}

std::vector<std::byte> vector_input(std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>(static_cast<std::uint32_t>(i * 2654435761u) >> 24);
  return bytes;
}

std::string hex64(std::uint64_t value) {
  std::ostringstream text;
  text << std::hex;
  text.width(16);
  text.fill('0');
  text << value;
  return text.str();
}

}  // namespace

TEST_CASE("hash_values_equal_those_of_xxhsum") {
  const std::vector<Vector> vectors = read_vectors();
  REQUIRE(vectors.size() > 40);
  for (const Vector& vector : vectors) {
    CAPTURE(vector.length);
    const std::vector<std::byte> bytes = vector_input(vector.length);
    CHECK(hash128(bytes).hex() == vector.hash128_hex);
    CHECK(hex64(hash64(bytes)) == vector.hash64_hex);
  }
}

TEST_CASE("hash_in_pieces_equals_hash_at_once") {
  std::mt19937 random(1);
  for (const Vector& vector : read_vectors()) {
    CAPTURE(vector.length);
    const std::vector<std::byte> bytes = vector_input(vector.length);
    for (const std::size_t longest_piece : {std::size_t{1}, std::size_t{63}, std::size_t{300}, std::size_t{5000}}) {
      if (vector.length / longest_piece > 100000) continue;
      Hasher128 hasher;
      for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t piece = std::min(bytes.size() - at, 1 + random() % longest_piece);
        hasher.update(Bytes(bytes).subspan(at, piece));
        hasher.update({});
        at += piece;
      }
      CHECK(hasher.digest().hex() == vector.hash128_hex);
      CHECK(hasher.digest().hex() == vector.hash128_hex);  // asking does not change the state
    }
  }
}

TEST_CASE("hash_does_not_depend_on_alignment") {
  const std::vector<std::byte> source = vector_input(3000);
  const std::string expected = hash128(source).hex();
  for (std::size_t shift = 0; shift < 65; ++shift) {
    std::vector<std::byte> shifted(shift + source.size());
    std::copy(source.begin(), source.end(), shifted.begin() + static_cast<std::ptrdiff_t>(shift));
    CHECK(hash128(Bytes(shifted).subspan(shift)).hex() == expected);
  }
}

TEST_CASE("hash_hex_reads_back_and_refuses_anything_else") {
  const Hash128 hash = hash128(vector_input(100));
  const std::string hex = hash.hex();
  CHECK(Hash128::from_hex(hex) == hash);
  for (std::size_t length = 0; length < hex.size(); ++length) CHECK_FALSE(Hash128::from_hex(hex.substr(0, length)));
  CHECK_FALSE(Hash128::from_hex(hex + "0"));
  for (const char wrong : {'g', 'A', ' ', 'x', '\0', '/', ':'}) {
    std::string changed = hex;
    changed[17] = wrong;
    CHECK_FALSE(Hash128::from_hex(changed));
  }
}
