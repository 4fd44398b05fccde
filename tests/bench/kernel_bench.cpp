// Every kernel operation in every variant of this machine: bytes of weights read per second, in cache and from memory.
#include <random>

#include "kernels/registry.h"
#include "tests/bench/bench.h"

using namespace ingot;
using kernels::AffineTile;
using kernels::KernelTable;

namespace {

constexpr std::uint64_t kCols = 2048;
constexpr std::uint64_t kGroupCols = 32;

struct Workload {
  std::uint64_t tiles;
  int rounds;
  std::vector<float> input = std::vector<float>(kCols * 8, 0.5f);
  std::vector<std::uint32_t> words;  // shared by all slices: the values do not matter here
  std::vector<float> parameters = std::vector<float>(kCols / kGroupCols * 16, 0.01f);

  Workload(std::uint64_t tile_count, int round_count)
      : tiles(tile_count), rounds(round_count), words(tile_count * kCols / 4 * 16) {
    std::mt19937 random(1);
    for (std::uint32_t& word : words)
      word = static_cast<std::uint32_t>(random()) & 0x3FFF3FFF;  // finite as floats of 16 bits
  }
};

AffineTile tile_at(const Workload& work, std::uint32_t bits, std::uint64_t tile) {
  const std::uint32_t* codes = work.words.data() + tile * kCols / 32 * bits * 16;
  return {{codes, codes, codes}, bits, false, false, work.parameters.data(), work.parameters.data(), kCols, kGroupCols};
}

void bench_tiles(bench::Report& report, const KernelTable& table, const Workload& work, const std::string& place) {
  for (const std::uint32_t bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    const double gigabytes = static_cast<double>(work.tiles * kCols * bits * 2) / 1e9;
    const auto timings = bench::measure(work.rounds, {[&] {
                                          float out[16];
                                          for (std::uint64_t t = 0; t < work.tiles; ++t) {
                                            table.tiles.dot(tile_at(work, bits, t), work.input.data(), out);
                                            bench::keep(out);
                                          }
                                        }});
    report.add(std::string("tile_dot u") + std::to_string(bits) + ", " + table.name + place, timings[0], gigabytes,
               "GB");
  }
}

// The same codes times rounded inputs, four tiles at once, with binary16 scales and 4-bit zero points.
void bench_integer(bench::Report& report, const KernelTable& table, const Workload& work, const std::string& place,
                   std::uint64_t vectors) {
  using namespace kernels;
  for (const std::uint32_t bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    for (const std::uint8_t group : {std::uint8_t{32}, std::uint8_t{128}}) {
      const auto low_bits = static_cast<std::uint8_t>(bits == 8 ? 8 : bits >= 4 ? 4 : 2);
      const IntegerLayout layout = {low_bits, group};
      std::vector<std::int8_t> codes(kCols);
      std::vector<float> scales(kCols / group), sums(kCols / group), out(vectors * 16 * kMaxIntegerTiles);
      table.integer.round_input(work.input.data(), kCols, layout, codes.data(), scales.data(), sums.data());
      const std::vector<IntegerInput> inputs(vectors, {codes.data(), scales.data(), sums.data()});
      const auto timings = bench::measure(
          work.rounds, {[&] {
            for (std::uint64_t t = 0; t < work.tiles; t += kMaxIntegerTiles) {
              IntegerTile tiles[kMaxIntegerTiles];
              for (std::uint64_t k = 0; k < kMaxIntegerTiles; ++k) {
                const std::uint32_t* at = work.words.data() + (t + k) * kCols / 32 * bits * 16;
                tiles[k] = {};
                for (const std::uint32_t*& slice : tiles[k].slices) slice = at;
                tiles[k].scales.type = ParameterType::f16;
                tiles[k].scales.elements = work.parameters.data();
                tiles[k].offset = OffsetKind::zero_point;
                tiles[k].offsets.type = ParameterType::integer;
                tiles[k].offsets.bits = 4;
                tiles[k].offsets.elements = work.parameters.data();
                tiles[k].cols = kCols, tiles[k].group_cols = group;
                tiles[k].bits = static_cast<std::uint8_t>(bits);
              }
              table.integer.multiply(tiles, kMaxIntegerTiles, layout, inputs.data(), vectors, out.data(), 64);
              bench::keep(out[0]);
            }
          }});
      const double work_done = static_cast<double>(work.tiles * kCols * bits * 2) / 1e9;
      const std::string name =
          "integer u" + std::to_string(bits) + " g" + std::to_string(group) + ", " + table.name + place;
      if (vectors == 1)
        report.add(name, timings[0], work_done, "GB");
      else
        report.add(name + ", " + std::to_string(vectors) + " vectors", timings[0],
                   static_cast<double>(work.tiles * kCols * 32 * vectors) / 1e9, "GOP");
    }
  }
}

// 4-bit codes that index a table, with the scales they usually have: NF4's binary32 for each 64, MXFP4's powers of two.
void bench_tables(bench::Report& report, const KernelTable& table, const Workload& work, const std::string& place,
                  std::uint64_t vectors) {
  using namespace kernels;
  for (const bool are_small : {false, true}) {
    const EntryTable entries = {{}, are_small};
    const auto group = static_cast<std::uint8_t>(are_small ? 32 : 64);
    const IntegerLayout layout = {4, group};
    std::vector<std::int8_t> codes(kCols);
    std::vector<float> scales(kCols / group), sums(kCols / group), out(vectors * 16 * kMaxIntegerTiles);
    table.integer.round_input(work.input.data(), kCols, layout, codes.data(), scales.data(), sums.data());
    const std::vector<IntegerInput> inputs(vectors, {codes.data(), scales.data(), sums.data()});
    const auto timings = bench::measure(
        work.rounds, {[&] {
          for (std::uint64_t t = 0; t < work.tiles; t += kMaxIntegerTiles) {
            IntegerTile tiles[kMaxIntegerTiles] = {};
            for (std::uint64_t k = 0; k < kMaxIntegerTiles; ++k) {
              tiles[k].slices[0] = work.words.data() + (t + k) * kCols / 8 * 16;
              tiles[k].scales.type = are_small ? ParameterType::e8m0 : ParameterType::f32;
              tiles[k].scales.elements = work.parameters.data();
              tiles[k].offset = OffsetKind::zero_point;
              tiles[k].offsets.constant = are_small ? 12 : 128;
              tiles[k].cols = kCols, tiles[k].group_cols = group, tiles[k].bits = 4;
              tiles[k].table = &entries;
            }
            table.integer.multiply_table(tiles, kMaxIntegerTiles, layout, inputs.data(), vectors, out.data(), 64);
            bench::keep(out[0]);
          }
        }});
    const std::string name = std::string(are_small ? "e2m1 g32, " : "nf4 g64, ") + table.name + place;
    if (vectors == 1)
      report.add(name, timings[0], static_cast<double>(work.tiles * kCols * 8) / 1e9, "GB");
    else
      report.add(name + ", " + std::to_string(vectors) + " vectors", timings[0],
                 static_cast<double>(work.tiles * kCols * 32 * vectors) / 1e9, "GOP");
  }
}

void bench_rows(bench::Report& report, const KernelTable& table, const Workload& work, const std::string& place) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(work.words.data());
  const std::uint64_t rows = work.words.size() * 2 / kCols;
  const double gigabytes = static_cast<double>(work.words.size() * 4) / 1e9;
  std::vector<float> out(rows);
  const auto all_rows = [&](auto products) {
    return [&work, &out, halves, rows, products] {
      products(halves, kCols, rows, work.input.data(), kCols, 1, kCols, out.data(), rows);
      bench::keep(out[0]);
    };
  };
  const auto timings = bench::measure(work.rounds, {all_rows(table.rows_f16), all_rows(table.rows_bf16)});
  report.add(std::string("rows_f16, ") + table.name + place, timings[0], gigabytes, "GB");
  report.add(std::string("rows_bf16, ") + table.name + place, timings[1], gigabytes, "GB");
}

void bench_panel(bench::Report& report, const KernelTable& table, int rounds) {
  const std::vector<float> panel(kCols * 16, 0.25f);
  const std::vector<float> inputs(kCols * 48, 0.5f);
  std::vector<float> packed(inputs.size()), out(48 * 16);
  table.floats.pack(inputs.data(), kCols, 48, kCols, 0, kCols, packed.data());
  const auto multiply = [&] {
    table.floats.panel_dot(panel.data(), kCols, packed.data(), 48, out.data(), 16);
    bench::keep(out[0]);
  };
  const auto timings = bench::measure(rounds, {multiply});
  report.add(std::string("panel_dot, 48 vectors, ") + table.name, timings[0], 2e-9 * 48 * 16 * kCols, "GFLOP");
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse_options(argc, argv);
  bench::Report report("kernel");
  const Workload cached(4, options.smoke ? 1 : 200), streamed(options.smoke ? 4 : 4096, options.smoke ? 1 : 5);
  for (const kernels::Variant& variant : kernels::variants()) {
    const KernelTable* table = kernels::find(variant.name);
    if (table == nullptr) {
      std::printf("%s: not on this machine\n", std::string(variant.name).c_str());
      continue;
    }
    bench_tiles(report, *table, cached, ", in cache");
    bench_integer(report, *table, cached, ", in cache", 1);
    bench_integer(report, *table, cached, ", in cache", 64);
    bench_tables(report, *table, cached, ", in cache", 1);
    bench_tables(report, *table, cached, ", in cache", 64);
    bench_rows(report, *table, cached, ", in cache");
    bench_panel(report, *table, options.smoke ? 1 : 50);
    if (variant.name == "portable") continue;  // too slow for the memory to matter
    bench_tiles(report, *table, streamed, ", from memory");
    bench_integer(report, *table, streamed, ", from memory", 1);
    bench_tables(report, *table, streamed, ", from memory", 1);
    bench_rows(report, *table, streamed, ", from memory");
  }
  report.write_json(options.json_path);
}
