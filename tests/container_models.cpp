#include "container_models.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <numeric>

namespace ingot::test {
namespace {

using tensor::Block;
using tensor::CodeKind;
using tensor::DType;
using tensor::Level;
using tensor::OffsetKind;
using tensor::Packing;
using tensor::Scheme;
using tensor::Shape;

/// Hides the views of another source, as a foreign file with interleaved blocks would have none.
class StreamedPlanes final : public tensor::PlaneSource {
 public:
  explicit StreamedPlanes(std::shared_ptr<const tensor::PlaneSource> inner) : inner_(std::move(inner)) {}
  [[nodiscard]] std::optional<Bytes> view(std::size_t) const override { return std::nullopt; }
  void read_units(std::uint64_t begin, std::uint64_t end, std::vector<std::byte*>& out) const override {
    inner_->read_units(begin, end, out);
  }
  [[nodiscard]] Bytes whole(std::size_t index) const override { return inner_->whole(index); }

 private:
  std::shared_ptr<const tensor::PlaneSource> inner_;
};

void fill_indexes(std::vector<std::byte>& plane, bool is_permutation, std::uint64_t limit, Random& random) {
  std::vector<std::uint32_t> values(plane.size() / 4);
  std::iota(values.begin(), values.end(), 0u);
  if (is_permutation) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(i)]);
  } else {
    for (std::uint32_t& value : values) value = static_cast<std::uint32_t>(random.below(limit));
  }
  std::memcpy(plane.data(), values.data(), plane.size());
}

Level level(DType type, Block block) {
  Level made;
  made.type = type;
  made.block = block;
  return made;
}

Scheme affine(DType codes, DType scale, std::uint32_t group) {
  Scheme scheme = Scheme::plain(codes);
  scheme.scales = {level(scale, {1, group})};
  return scheme;
}

Scheme zero_points(DType codes, std::uint32_t group) {
  Scheme scheme = affine(codes, DType::f16, group);
  scheme.offset.kind = OffsetKind::zero_points;
  scheme.offset.levels = {level(DType::u8, {1, group})};
  return scheme;
}

Scheme two_level_minimum() {
  Scheme scheme = Scheme::plain(DType::u4);
  scheme.scales = {level(DType::u8, {1, 32}), level(DType::f16, {1, 256})};
  scheme.offset.kind = OffsetKind::minimum;
  scheme.offset.levels = {level(DType::u8, {1, 32}), level(DType::f16, {1, 256})};
  return scheme;
}

Scheme double_quantized() {
  Scheme scheme = Scheme::plain(DType::u4);
  scheme.codes.kind = CodeKind::table;
  scheme.codes.table = "nf4";
  scheme.flat = 64;
  scheme.scales = {level(DType::u8, {1, 0}), level(DType::f32, {4, 0})};
  scheme.scales[0].custom_table = true;
  scheme.rounded_scale = true;
  scheme.scale_offset = true;
  return scheme;
}

Scheme custom_table() {
  Scheme scheme = affine(DType::u3, DType::f32, 16);
  scheme.codes.kind = CodeKind::table;
  scheme.codes.table = "custom";
  return scheme;
}

Scheme ordered(tensor::Order order) {
  Scheme scheme = zero_points(DType::u4, 32);
  scheme.order = order;
  return scheme;
}

tensor::Tensor transformed(tensor::Tensor tensor, tensor::TransformKind kind, std::uint64_t heads) {
  tensor.transforms = {tensor::Transform{kind, heads}};
  return tensor;
}

void add_plain_tensors(std::vector<tensor::Tensor>& tensors, SourceKind kind) {
  for (const DType type :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::e5m2, DType::i64, DType::i32, DType::i16,
        DType::i8, DType::u64, DType::u32, DType::u16, DType::u8, DType::boolean}) {
    const std::string name = "plain." + std::string(tensor::name(type));
    tensors.push_back(make_tensor(name, {5, 7, 3}, Scheme::plain(type), Packing::rows, tensors.size(), kind));
  }
  tensors.push_back(make_tensor("scalar", {}, Scheme::plain(DType::f32), Packing::rows, 91, kind));
  tensors.push_back(make_tensor("empty", {0, 7}, Scheme::plain(DType::bf16), Packing::rows, 92, kind));
  tensors.push_back(make_tensor("vector", {100}, Scheme::plain(DType::f16), Packing::rows, 93, kind));
}

void add_quantized_tensors(std::vector<tensor::Tensor>& tensors, SourceKind kind) {
  const auto add = [&](const char* name, const Shape& shape, const Scheme& scheme, Packing packing) {
    tensors.push_back(make_tensor(name, shape, scheme, packing, tensors.size(), kind));
  };
  add("u4.tiles", {17, 64}, zero_points(DType::u4, 32), Packing::tiles);
  add("u4.rows", {17, 65}, zero_points(DType::u4, 32), Packing::rows);
  add("u3.tiles", {16, 96}, zero_points(DType::u3, 32), Packing::tiles);
  add("u5.tiles", {15, 33}, affine(DType::u5, DType::bf16, 32), Packing::tiles);
  add("u6.tiles", {33, 64}, affine(DType::u6, DType::f16, 16), Packing::tiles);
  add("u7.tiles", {1, 31}, affine(DType::u7, DType::f32, 0), Packing::tiles);
  add("i8.tiles", {40, 32}, affine(DType::i8, DType::f16, 32), Packing::tiles);
  add("experts", {3, 18, 64}, affine(DType::e2m1, DType::e8m0, 32), Packing::tiles);
  add(
      "blocks", {130, 200},
      [] {
        Scheme scheme = Scheme::plain(DType::e4m3);
        scheme.scales = {level(DType::f32, {128, 128})};
        return scheme;
      }(),
      Packing::rows);
  add(
      "two_scales", {16, 64},
      [] {
        Scheme scheme = Scheme::plain(DType::e2m1);
        scheme.scales = {level(DType::e4m3, {1, 16}), level(DType::f32, {0, 0})};
        return scheme;
      }(),
      Packing::tiles);
  add("minimum", {20, 512}, two_level_minimum(), Packing::tiles);
  add("double_quantized", {20, 32}, double_quantized(), Packing::rows);
  add("custom_table", {18, 32}, custom_table(), Packing::tiles);
  add("permuted", {16, 64}, ordered(tensor::Order::permutation), Packing::tiles);
  add("group_index", {16, 64}, ordered(tensor::Order::group_index), Packing::tiles);
  for (const auto& [grid, index] : {std::pair{"iq3_s", DType::u9}, std::pair{"iq2_xs", DType::u9}}) {
    Scheme scheme;
    scheme.codes = {CodeKind::grid, index, grid};
    scheme.scales = {level(DType::u3, {1, 8}), level(DType::f16, {1, 0})};
    add(grid, {5, 24}, scheme, Packing::rows);
  }
  Scheme opaque = Scheme::plain(DType::c64);
  opaque.codes.kind = CodeKind::opaque;
  add("opaque", {9, 3}, opaque, Packing::rows);
}

void set_text_parts(tensor::Model& model) {
  model.layout = "hf";
  model.config.architecture = "llama";
  model.config.hidden_size = 64;
  model.config.norm_epsilon = 1e-5;
  model.metadata = {{"general.name", "caf\xC3\xA9 \"1\"\\\n\x01"}, {"z", ""}};
}

tensor::Attachment attachment(const std::string& name, const std::string& text) {
  const auto owner = std::make_shared<const std::string>(text);
  return {name, as_bytes_view(*owner), owner};
}

}  // namespace

tensor::Tensor make_tensor(const std::string& name, const Shape& shape, const Scheme& scheme, Packing packing,
                           std::uint64_t seed, SourceKind kind) {
  Random random(seed * 7919 + 1);
  tensor::Tensor tensor;
  tensor.name = name;
  tensor.shape = shape;
  tensor.scheme = scheme;
  tensor.packing = packing;
  std::vector<std::vector<std::byte>> planes;
  for (const tensor::PlaneSpec& spec : tensor.plane_specs()) {
    std::vector<std::byte>& plane = planes.emplace_back(spec.total_bytes);
    for (std::byte& byte : plane) byte = static_cast<std::byte>(random.next() % 97);  // compressible
    if (spec.role == "permutation" || spec.role == "group_index")
      fill_indexes(plane, spec.role == "permutation", 2, random);
    if (spec.type == DType::boolean)
      for (std::byte& byte : plane) byte &= std::byte{1};
  }
  tensor.planes = tensor::planes_in_memory(std::move(planes), shape, scheme, packing);
  if (kind == SourceKind::streamed) tensor.planes = std::make_shared<StreamedPlanes>(tensor.planes);
  return tensor;
}

tensor::Model make_model_of_all_schemes(SourceKind kind) {
  tensor::Model model;
  set_text_parts(model);
  add_plain_tensors(model.tensors, kind);
  add_quantized_tensors(model.tensors, kind);
  const Scheme f32 = Scheme::plain(DType::f32);
  model.tensors.push_back(transformed(make_tensor("rope", {16, 6}, f32, Packing::rows, 201, kind),
                                      tensor::TransformKind::rope_interleave, 2));
  tensor::Tensor transposed = make_tensor("transposed", {6, 16}, f32, Packing::rows, 202, kind);
  transposed.shape = {16, 6};
  model.tensors.push_back(transformed(transposed, tensor::TransformKind::transpose, 0));
  model.tensors.push_back(
      transformed(make_tensor("norm", {40}, f32, Packing::rows, 203, kind), tensor::TransformKind::add_one, 0));
  model.tensors.back().derived = true;
  model.aliases = {{"lm_head.weight", "plain.bf16"}};
  model.attachments = {attachment("hf/config.json", "{}\n"), attachment("source/0/header", "HEAD"),
                       attachment("empty", "")};
  tensor::Source source;
  source.layout = "hf";
  tensor::SourceFile& file = source.files.emplace_back();
  file.path = "sub/model.safetensors";
  file.size = 18;
  file.hash = hash128(as_bytes_view("anything"));
  file.segments.resize(3);
  file.segments[0] = {tensor::Segment::Kind::literal, "source/0/header", 1, "", "", 3};
  file.segments[1] = {tensor::Segment::Kind::tensor, "", 0, "plain.u8", "raw", 10};
  file.segments[2] = {tensor::Segment::Kind::zeros, "", 0, "", "", 5};
  file.patches = {{2, "hf/config.json", 0, 2}, {10, "hf/config.json", 1, 1}};
  model.source = source;
  tensor::TokenizerSpec tokenizer;
  tokenizer.tokens = {"a", "b", "ab", "<s>"};
  tokenizer.merges = {"a b"};
  tokenizer.bos = 3;
  tokenizer.chat_template = "{{ x }}\n";
  model.tokenizer = tokenizer;
  return model;
}

tensor::Model make_small_model() {
  tensor::Model model;
  model.layout = "hf";
  model.metadata = {{"general.name", "small"}};
  model.tensors = {make_tensor("w", {3, 5}, zero_points(DType::u4, 4), Packing::rows, 5)};
  model.attachments = {attachment("hf/config.json", "{}")};
  return model;
}

tensor::Model make_large_model(SourceKind kind) {
  tensor::Model model;
  model.layout = "hf";
  model.tensors = {
      make_tensor("bf16", {1500, 1111}, Scheme::plain(DType::bf16), Packing::rows, 1,
                  kind),  // 3.2 MiB, rows straddle chunks
      make_tensor("f32", {2, 1 << 18}, Scheme::plain(DType::f32), Packing::rows, 2, kind),  // 2 MiB exactly
      make_tensor("small", {33}, Scheme::plain(DType::f32), Packing::rows, 3, kind),
      make_tensor("u4", {2000, 4000}, zero_points(DType::u4, 128), Packing::tiles, 4, kind),  // 4 MiB of codes
      make_tensor("u6", {900, 1600}, affine(DType::u6, DType::f16, 32), Packing::tiles, 5, kind),
      make_tensor("f64", {1, 200000}, Scheme::plain(DType::f64), Packing::rows, 6, kind),     // one unit of 1.5 MiB
      make_tensor("e4m3", {1025, 1024}, Scheme::plain(DType::e4m3), Packing::rows, 7, kind),  // one chunk and one row
  };
  return model;
}

std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  std::vector<std::byte> bytes(static_cast<std::size_t>(in.tellg()));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

void write_bytes(const std::filesystem::path& path, Bytes bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

container::WriteOptions fast(container::Compression compression) {
  container::WriteOptions options;
  options.compression = compression;
  options.sync = false;
  return options;
}

std::vector<std::byte> plane_bytes(const tensor::Tensor& tensor, std::size_t plane) {
  const std::vector<tensor::PlaneSpec> specs = tensor.plane_specs();
  if (!specs[plane].sliced) {
    const Bytes bytes = tensor.planes->whole(plane);
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> bytes(specs[plane].total_bytes);
  std::vector<std::byte*> out(specs.size(), nullptr);
  out[plane] = bytes.data();
  if (!bytes.empty()) tensor.planes->read_units(0, tensor.geometry().units, out);
  return bytes;
}

}  // namespace ingot::test
