// ByteReader, checked arithmetic and error names.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <set>
#include <vector>

#include "format/base/byte_reader.h"
#include "format/base/checked_math.h"
#include "format/base/file_errors.h"
#include "format/base/relative_path.h"
#include "format/base/utf8.h"
#include "tests/expect_error.h"

using namespace ingot;
using test::error_of;
using test::throws_kind;

namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

std::vector<std::byte> counting_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(i + 1);
  return bytes;
}

}  // namespace

TEST_CASE("byte_reader_reads_little_endian_fields_in_order") {
  const std::vector<std::byte> bytes = counting_bytes(43);
  ByteReader reader(bytes, "test", 1000);
  CHECK(reader.offset() == 1000);
  CHECK(reader.read_u8("a") == 0x01);
  CHECK(reader.read_u16("b") == 0x0302);
  CHECK(reader.read_u32("c") == 0x07060504u);
  CHECK(reader.read_u64("d") == 0x0f0e0d0c0b0a0908u);
  CHECK(reader.offset() == 1015);
  CHECK(reader.position() == 15);
  CHECK(reader.remaining() == 28);
}

TEST_CASE("byte_reader_reads_negative_and_float_values") {
  const std::array<std::uint8_t, 24> raw = {0xfe, 0xff, 0xff, 0xff,                           // -2
                                            0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,   // -3
                                            0x00, 0x00, 0xc0, 0x3f,                           // 1.5f
                                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xc0};  // -2.5
  ByteReader reader(std::as_bytes(std::span(raw)), "test");
  CHECK(reader.read_i32("a") == -2);
  CHECK(reader.read_i64("b") == -3);
  CHECK(reader.read_f32("c") == 1.5f);
  CHECK(reader.read_f64("d") == -2.5);
  CHECK(reader.remaining() == 0);
}

TEST_CASE("byte_reader_rejects_every_truncation") {
  const std::vector<std::byte> whole = counting_bytes(43);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::vector<std::byte> prefix(whole.begin(),
                                        whole.begin() + static_cast<std::ptrdiff_t>(length));  // exactly sized block
    ByteReader reader(prefix, "test", 500);
    const auto error = error_of([&] {
      (void)reader.read_u8("a");
      (void)reader.read_u16("b");
      (void)reader.read_u32("c");
      (void)reader.read_u64("d");
      (void)reader.read_i32("e");
      (void)reader.read_i64("f");
      (void)reader.read_f32("g");
      (void)reader.read_f64("h");
      reader.skip(4, "i");
    });
    REQUIRE(error);
    CHECK(error->kind == ErrorKind::truncated);
    CHECK(error->offset == 500 + reader.position());  // the field that did not fit
    CHECK(error->offset <= 500 + length);
  }
}

TEST_CASE("byte_reader_take_survives_counts_near_the_64_bit_limit") {
  const std::vector<std::byte> bytes = counting_bytes(8);
  ByteReader reader(bytes, "test");
  reader.skip(3, "start");
  for (const std::uint64_t count : {std::uint64_t{6}, kMax, kMax - 2, kMax - 3, std::uint64_t{1} << 63}) {
    CHECK(throws_kind(ErrorKind::truncated, [&] { reader.skip(count, "huge"); }));
    CHECK(reader.position() == 3);  // a failed read does not move
  }
  CHECK(reader.take(5, "rest").data() == bytes.data() + 3);
  CHECK(reader.take(0, "nothing").empty());
}

TEST_CASE("store_le_is_undone_by_load_le") {
  std::array<std::byte, 8> bytes{};
  store_le(bytes.data(), std::uint32_t{0x11223344});
  CHECK(bytes[0] == std::byte{0x44});
  CHECK(load_le<std::uint32_t>(bytes.data()) == 0x11223344u);
}

TEST_CASE("checked_math_agrees_with_wide_arithmetic_and_throws_beyond_64_bits") {
  const std::array<std::uint64_t, 12> values = {0,           1,           2,        3,        10,       0xffffffff,
                                                0x100000000, 0x100000001, kMax / 3, kMax / 2, kMax - 1, kMax};
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) {
      const auto sum = static_cast<Wide>(a) + b;
      const auto product = static_cast<Wide>(a) * b;
      if (sum <= kMax) {
        CHECK(checked_add(a, b, "sum") == static_cast<std::uint64_t>(sum));
      } else {
        CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)checked_add(a, b, "sum"); }));
      }
      if (product <= kMax) {
        CHECK(checked_mul(a, b, "product") == static_cast<std::uint64_t>(product));
      } else {
        CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)checked_mul(a, b, "product"); }));
      }
    }
  }
}

TEST_CASE("checked_product_of_extents") {
  CHECK(checked_product({}, "shape") == 1);
  const std::array<std::uint64_t, 3> shape = {4, 5, 6};
  CHECK(checked_product(shape, "shape") == 120);
  const std::array<std::uint64_t, 3> with_zero = {4, 0, 6};
  CHECK(checked_product(with_zero, "shape") == 0);
  const std::array<std::uint64_t, 3> huge = {std::uint64_t{1} << 32, std::uint64_t{1} << 32, 1};
  CHECK(throws_kind(ErrorKind::limit_exceeded, [&] { (void)checked_product(huge, "shape"); }));
}

TEST_CASE("ceil_div_and_align_up_at_the_edges") {
  CHECK(ceil_div(0, 8) == 0);
  CHECK(ceil_div(8, 8) == 1);
  CHECK(ceil_div(9, 8) == 2);
  CHECK(ceil_div(kMax, 2) == (std::uint64_t{1} << 63));
  CHECK(align_up(0, 64) == 0);
  CHECK(align_up(1, 64) == 64);
  CHECK(align_up(64, 64) == 64);
  CHECK(align_up(65, 64) == 128);
}

TEST_CASE("error_kind_names_are_distinct") {
  std::set<std::string_view> names;
  for (int kind = 0; kind <= static_cast<int>(ErrorKind::mismatch); ++kind)
    names.insert(error_kind_name(static_cast<ErrorKind>(kind)));
  CHECK(names.size() == static_cast<std::size_t>(ErrorKind::mismatch) + 1);
  CHECK(error_kind_name(ErrorKind::bad_checksum) == "bad_checksum");
  CHECK(error_kind_name(ErrorKind::io) == "io");
}

TEST_CASE("utf8_is_judged_strictly") {
  for (const std::string_view good : {"", "plain", "Ünï 模型 \xF0\x9F\x99\x82", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"}) {
    CHECK(is_utf8(good));
    CHECK(to_valid_utf8(good) == good);
  }
  for (const std::string_view bad : {"\x80", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                                     "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE6\xA8", "a\xFF"})
    CHECK_FALSE(is_utf8(bad));
  CHECK(to_valid_utf8("a\xE6\xA8z\xFF") == "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  CHECK(utf8_part_at("a\xE6\xA8", 1).kind == Utf8Part::Kind::incomplete);
  CHECK(utf8_part_at("a\xE6\xA8", 1).length == 2);
  CHECK(utf8_part_at("\xED\xA0", 0).kind == Utf8Part::Kind::invalid);
}

TEST_CASE("relative_paths_stay_below_their_directory") {
  for (const std::string_view good : {"a", "a/b", "a/..b/.c", "..."}) CHECK(relative_path_fault(good).empty());
  for (const std::string_view bad : {"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b"})
    CHECK_FALSE(relative_path_fault(bad).empty());
  CHECK_FALSE(relative_path_fault(std::string_view("a\0b", 3)).empty());
}

TEST_CASE("file_system_errors_name_path_action_and_reason") {
  const std::optional<Error> error =
      error_of([] { with_file_errors([] { std::filesystem::create_directories("/proc/absent/deeper"); }); });
  REQUIRE(error);
  CHECK(error->kind == ErrorKind::io);
  CHECK(std::string(error->what()).starts_with("/proc/absent"));
  CHECK(std::string(error->what()).ends_with(": cannot create directories: No such file or directory"));
  CHECK(with_file_errors([] { return 3; }) == 3);
}
