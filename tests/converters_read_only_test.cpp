// Checkpoints of layouts that are read and not written: HQQ, quanto, torchao, EXL2. tests/golden/foreign/<layout> holds
// modules made by the owning libraries and the values that they decode (make.py beside them; EXL2: see its README).
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "converters/files/safetensors.h"
#include "converters/registry.h"
#include "converters/with_views.h"
#include "format/base/mapped_file.h"
#include "format/tensor/decode.h"
#include "format/tensor/float_codes.h"
#include "tests/coded_checkpoints.h"
#include "tests/expect_error.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::error_of;
using ingot::test::TemporaryDirectory;
using ingot::test::throws_kind;
using tensor::DType;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign";

struct Fixture {
  std::string layout, name;
};
const std::vector<Fixture> kFixtures = {{"hqq", "f16"},          {"hqq", "bf16"},       {"hqq", "f32"},
                                        {"hqq", "viewed"},       {"hqq", "own"},        {"hqq", "own_meta"},
                                        {"quanto", "f16"},       {"quanto", "bf16"},    {"quanto", "f32"},
                                        {"torchao", "integers"}, {"torchao", "floats"}, {"exl2", "mixed"}};

std::string read_all(const fs::path& path) { return read_text_file(path, std::uint64_t{1} << 28); }

std::vector<float> values_of(const tensor::Tensor& tensor) {
  std::vector<float> values(tensor.elements());
  tensor::decode_logical(tensor, values);
  return values;
}

void check_values(const Fixture& fixture) {
  const tensor::Model model = read_model(kFolder / fixture.layout / fixture.name);
  CHECK(model.layout == fixture.layout);
  const tensor::Model expected = read_model(kFolder / fixture.layout / (fixture.name + ".expected.safetensors"));
  CHECK(!expected.tensors.empty());
  for (const tensor::Tensor& wanted : expected.tensors) {
    INFO(fixture.layout << "/" << fixture.name << " " << wanted.name);
    const tensor::Tensor* got = model.find(wanted.name);
    REQUIRE(got != nullptr);
    REQUIRE(got->shape == wanted.shape);
    CHECK(!got->scheme.is_plain());
    std::vector<float> a = values_of(*got);
    const std::vector<float> b = values_of(wanted);
    if (wanted.scheme.codes.type == DType::f16) {
      std::vector<std::uint16_t> halves(a.size());
      tensor::f32_to_f16(a.data(), halves.data(), a.size());
      tensor::f16_to_f32(halves.data(), a.data(), a.size());
    }
    std::size_t differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i];
    CHECK(differing == 0);
  }
}

/// layout -> .ingot -> restore gives every file back.
void check_restore(const fs::path& directory) {
  const TemporaryDirectory scratch;
  ConvertOptions options;
  options.to = "ingot";
  options.write.sync = false;
  const ConversionReport report = ingot::convert::convert(read_model(directory), scratch / "model.ingot", options);
  CHECK(report.model_before == report.model_after);
  (void)restore(read_model(scratch / "model.ingot"), scratch / "back", false, {});
  for (const auto& entry : fs::directory_iterator(directory)) {
    INFO(entry.path().string());
    CHECK((read_all(entry.path()) == read_all(scratch / "back" / entry.path().filename())));
  }
}

// --- Hand-made files ------------------------------------------------------------------------------------------------
struct Item {
  std::string name;
  DType type;
  tensor::Shape shape;
  std::string bytes = {};  // empty: zeros
};
using Metadata = std::map<std::string, std::string>;

std::uint64_t size_of(const Item& item) {
  std::uint64_t elements = 1;
  for (const std::uint64_t extent : item.shape) elements *= extent;
  return elements * tensor::bits(item.type) / 8;
}

void write_checkpoint(const fs::path& directory, const std::vector<Item>& items, const std::string& config = "{}",
                      const Metadata& metadata = {}) {
  fs::create_directories(directory);
  std::vector<SafetensorsItem> entries;
  for (const Item& item : items) entries.push_back({item.name, item.type, item.shape});
  const SafetensorsPlan plan = plan_safetensors(entries, metadata);
  std::ofstream file(directory / "model.safetensors", std::ios::binary);
  file << plan.header;
  for (const std::size_t index : plan.order) {
    std::string bytes = items[index].bytes;
    bytes.resize(size_of(items[index]));
    file << bytes;
  }
  std::ofstream(directory / "config.json") << config;
}

/// Reading, or else decoding, throws an error of this kind that names the module.
bool refuses(ErrorKind kind, const std::string& layout, const std::vector<Item>& items,
             const std::string& config = "{}", const Metadata& metadata = {}) {
  const TemporaryDirectory scratch;
  write_checkpoint(scratch / "model", items, config, metadata);
  const auto error = error_of([&] {
    const tensor::Model model = read_model(scratch / "model", layout);
    for (const tensor::Tensor& tensor : model.tensors) (void)values_of(tensor);
  });
  if (error) INFO(error->what());
  return error && error->kind == kind;
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  return bytes;
}

using Change = std::function<void(std::vector<Item>&)>;
std::vector<Item> changed(std::vector<Item> items, const Change& change) {
  change(items);
  return items;
}
Item& item(std::vector<Item>& items, const std::string& name) {
  return *std::find_if(items.begin(), items.end(), [&](const Item& row) { return row.name == name; });
}

const std::vector<Item> kHqq = {{"a.W_q", DType::u8, {4, 4}},
                                {"a.scale", DType::f16, {8, 1}},
                                {"a.zero", DType::f16, {8, 1}},
                                {"a.shape", DType::i64, {2}, raw<std::int64_t>({4, 8})},
                                {"a.nbits", DType::i32, {}, raw<std::int32_t>({4})},
                                {"a.group_size", DType::i32, {}, raw<std::int32_t>({4})},
                                {"a.axis", DType::i32, {}, raw<std::int32_t>({1})},
                                {"a.packing", DType::u8, {7}, "4bit_u8"}};
const std::vector<Item> kExl2 = {{"a.q_weight", DType::i32, {4, 32}},
                                 {"a.q_scale", DType::i32, {1, 4}},
                                 {"a.q_scale_max", DType::f16, {1}},
                                 {"a.q_groups", DType::i16, {2}, raw<std::int16_t>({4, 0})},
                                 {"a.q_invperm", DType::i32, {4}, raw<std::int32_t>({3, 2, 1, 0})}};

}  // namespace

TEST_CASE("read_only_layouts_decode_to_the_values_of_their_libraries") {
  for (const Fixture& fixture : kFixtures) check_values(fixture);
}

TEST_CASE("read_only_layouts_come_back_byte_for_byte") {
  for (const Fixture& fixture : kFixtures) {
    INFO(fixture.layout << "/" << fixture.name);
    test::check_packing(kFolder / fixture.layout / fixture.name);
    check_restore(kFolder / fixture.layout / fixture.name);
  }
}

TEST_CASE("unused_bits_of_read_only_layouts_come_back") {
  const TemporaryDirectory scratch;
  std::vector<Item> items = kHqq;
  item(items, "a.W_q") = {
      "a.W_q", DType::i32, {1, 4}, std::string(16, '\xff')};  // 3 bits: ten rows for eight, two bits more
  item(items, "a.nbits").bytes = raw<std::int32_t>({3});
  item(items, "a.packing").bytes = "3bit_32";
  write_checkpoint(scratch / "hqq", items);
  check_restore(scratch / "hqq");
  write_checkpoint(scratch / "quanto", {{"a.weight._data._data", DType::u8, {2, 4}, std::string(8, '\xff')},
                                        {"a.weight._scale", DType::f32, {3, 1}},
                                        {"a.weight._shift", DType::f32, {3, 1}, raw<float>({0.0F, -0.0F, 1.0F})},
                                        {"a.bias", DType::f32, {3}}});
  check_restore(scratch / "quanto");
}

TEST_CASE("read_only_layouts_are_not_written") {
  const TemporaryDirectory scratch;
  for (const std::string layout : {"hqq", "quanto", "torchao", "exl2"}) {
    ConvertOptions options;
    options.to = layout;
    const auto error =
        error_of([&] { (void)ingot::convert::convert(read_model(kFolder / "mlx/affine"), scratch / "out", options); });
    REQUIRE(error);
    CHECK(error->kind == ErrorKind::unsupported);
    CHECK(std::string(error->what()).find("layout " + layout + " can be read, not written") != std::string::npos);
    CHECK(!fs::exists(scratch / "out"));
  }
}

TEST_CASE("codes_of_read_only_layouts_survive_in_other_layouts") {
  const TemporaryDirectory scratch;
  const auto class_in = [&](const Fixture& fixture, const std::string& module, const std::string& target) {
    tensor::Model model = read_model(kFolder / fixture.layout / fixture.name);
    std::erase_if(model.tensors, [&](const tensor::Tensor& row) { return row.name != module + ".weight"; });
    REQUIRE(model.tensors.size() == 1);
    ConvertOptions options;
    options.to = target;
    options.allow = ProofClass::requantized;
    return forecast(model, options).tensors.at(0).forecast;
  };
  CHECK(class_in({"torchao", "integers"}, "int4", "mlx") == ProofClass::exact);
  CHECK(class_in({"exl2", "mixed"}, "four", "gptq") == ProofClass::exact);
  CHECK(class_in({"exl2", "mixed"}, "mixed", "gptq") == ProofClass::exact);
  CHECK(class_in({"hqq", "f16"}, "rounded_zero", "gptq") == ProofClass::exact);
  CHECK(class_in({"quanto", "f16"}, "int4_g128", "mlx") == ProofClass::exact);
}

TEST_CASE("hqq_refuses_what_contradicts_itself") {
  const auto refused = [](ErrorKind kind, const Change& change) { return refuses(kind, "hqq", changed(kHqq, change)); };
  CHECK(!refuses(ErrorKind::mismatch, "hqq", kHqq));
  const auto number = [](const std::string& fact, std::int32_t value) {
    return [=](std::vector<Item>& items) { item(items, "a." + fact).bytes = raw<std::int32_t>({value}); };
  };
  CHECK(refused(ErrorKind::mismatch, number("nbits", 0)));
  CHECK(refused(ErrorKind::mismatch, number("nbits", -4)));
  CHECK(refused(ErrorKind::mismatch, number("nbits", 8)));
  CHECK(refused(ErrorKind::mismatch, number("group_size", 0)));
  CHECK(refused(ErrorKind::mismatch, number("group_size", -4)));
  CHECK(refused(ErrorKind::mismatch, number("group_size", 2147483647)));
  CHECK(refused(ErrorKind::mismatch, number("axis", 2)));
  CHECK(refused(ErrorKind::mismatch, number("axis", 0)));
  const auto shape = [](std::int64_t out, std::int64_t in) {
    return [=](std::vector<Item>& items) { item(items, "a.shape").bytes = raw<std::int64_t>({out, in}); };
  };
  CHECK(refused(ErrorKind::mismatch, shape(-4, 8)));
  CHECK(refused(ErrorKind::mismatch, shape(0, 8)));
  CHECK(refused(ErrorKind::mismatch, shape(4, 16)));
  CHECK(refused(ErrorKind::limit_exceeded, shape(std::int64_t{1} << 62, std::int64_t{1} << 62)));
  CHECK(refused(ErrorKind::unsupported, [](auto& items) { item(items, "a.packing").bytes = "4bit_32"; }));
  CHECK(refused(ErrorKind::mismatch, [](auto& items) { item(items, "a.scale").type = DType::i16; }));
  CHECK(refused(ErrorKind::mismatch, [](auto& items) { item(items, "a.zero").shape = {4, 1}; }));
  CHECK(refused(ErrorKind::mismatch,
                [](auto& items) { std::erase_if(items, [](auto& row) { return row.name == "a.zero"; }); }));
  CHECK(refused(ErrorKind::unsupported, [](auto& items) {
    items.push_back({"a.quant_scale", DType::u8, {}, "\x01"});
  }));
  CHECK(refused(ErrorKind::invalid_value, [](auto& items) {  // a code of 3 in 1.58 bits fits, one of 63 does not in 5
    item(items, "a.W_q") = {"a.W_q", DType::u8, {8, 4}, std::string(32, '\x3f')};
    item(items, "a.packing").bytes = "8bit_u8";
    item(items, "a.nbits").bytes = raw<std::int32_t>({5});
  }));
}

TEST_CASE("hqq_calls_out_a_config_that_its_tensors_contradict") {
  const TemporaryDirectory scratch;
  const auto finding = [&](const char* name, const std::string& parameters) {
    write_checkpoint(scratch / name, kHqq,
                     R"({"quantization_config": {"quant_method": "hqq", "quant_config": )"
                     R"({"weight_quant_params": {)" +
                         parameters + "}}}}");
    const tensor::Model model = read_model(scratch / name);
    return model.findings.size() == 1 ? model.findings[0] : std::to_string(model.findings.size()) + " findings";
  };
  CHECK(finding("alike", R"("nbits": 4, "group_size": 4, "axis": 1)") == "0 findings");
  CHECK(finding("other", R"("nbits": 3)").find("nbits 3, the tensors say 4") != std::string::npos);
  CHECK(finding("great", R"("group_size": 18446744073709551615)").find("group_size 1000000000, the tensors say 4") !=
        std::string::npos);
  CHECK(finding("small", R"("axis": -9223372036854775808)").find("axis -1000000000, the tensors say 1") !=
        std::string::npos);
}

TEST_CASE("quanto_finds_the_shape_or_says_that_it_cannot") {
  const TemporaryDirectory scratch;
  const std::vector<Item> grouped = {{"l.down_proj.weight._data._data", DType::u8, {4, 128}},
                                     {"l.down_proj.weight._scale", DType::f32, {8, 1}},
                                     {"l.down_proj.weight._shift", DType::f32, {8, 1}},
                                     {"l.down_proj.input_scale", DType::f32, {}, raw<float>({0.5F})}};
  write_checkpoint(scratch / "named", grouped, R"({"hidden_size": 256, "intermediate_size": 512})");
  const tensor::Model model = read_model(scratch / "named");
  CHECK(model.find("l.down_proj.weight")->shape == tensor::Shape{2, 512});
  CHECK(model.findings.size() == 1);
  CHECK(refuses(ErrorKind::mismatch, "quanto", grouped));
  std::vector<Item> unnamed = grouped;
  for (Item& row : unnamed) row.name.replace(0, 11, "x.unknown__");
  CHECK(refuses(ErrorKind::mismatch, "quanto", unnamed, R"({"hidden_size": 256, "intermediate_size": 512})"));
  CHECK(refuses(ErrorKind::mismatch, "quanto", changed(grouped, [](auto& items) { items[1].shape = {3, 1}; })));
  CHECK(refuses(ErrorKind::mismatch, "quanto", changed(grouped, [](auto& items) { items[2].shape = {4, 1}; })));
  CHECK(refuses(ErrorKind::mismatch, "quanto", changed(grouped, [](auto& items) { items[0].type = DType::i16; })));
  CHECK(refuses(ErrorKind::unsupported, "quanto",
                {{"a.weight._data", DType::f32, {2, 2}}, {"a.weight._scale", DType::f32, {2, 1}}}));
  CHECK(refuses(ErrorKind::mismatch, "quanto",
                {{"a.weight._data", DType::i8, {2, 4}}, {"a.weight._scale", DType::f32, {3, 1}}}));
}

TEST_CASE("torchao_takes_a_scalar_for_all") {
  const TemporaryDirectory scratch;
  write_checkpoint(scratch / "scalar",
                   {{"a._weight_qdata", DType::i8, {2, 4}, std::string(8, '\x05')},
                    {"a._weight_scale", DType::f32, {}, raw<float>({0.5F})},
                    {"a._weight_zero_point", DType::i8, {}, "\x01"}},
                   "{}",
                   {{"tensor_names", R"(["a.weight"])"}, {"a.weight", R"({"_type": "Int8Tensor", "_data": {}})"}});
  const tensor::Model model = read_model(scratch / "scalar");
  std::vector<float> values(8);
  tensor::decode_logical(*model.find("a.weight"), values);
  CHECK(values == std::vector<float>(8, 2.0F));  // 0.5 * (5 - 1)
}

TEST_CASE("torchao_refuses_by_name") {
  const std::vector<Item> items = {{"a._weight_qdata", DType::i8, {2, 4}, std::string(8, '\x05')},
                                   {"a._weight_scale", DType::f32, {2, 1}},
                                   {"a._weight_zero_point", DType::i8, {2, 1}}};
  const auto with = [](const std::string& type, const std::string& data = "{}") {
    return Metadata{{"tensor_names", "[\"a.weight\"]"},
                    {"a.weight", R"({"_type": ")" + type + R"(", "_data": )" + data + "}"}};
  };
  const std::string narrow = R"({"target_dtype": {"_type": "torch.dtype", "_data": "int3"}})";
  CHECK(!refuses(ErrorKind::mismatch, "torchao", items, "{}", with("Int8Tensor")));
  CHECK(refuses(ErrorKind::mismatch, "torchao", items));
  for (const std::string type : {"Int4Tensor", "Int4TilePackedTo4dTensor", "Int4PlainInt32Tensor", "Unheard"})
    CHECK(refuses(ErrorKind::unsupported, "torchao", items, "{}", with(type)));
  CHECK(refuses(ErrorKind::invalid_value, "torchao", items, "{}", with("IntxUnpackedToInt8Tensor", narrow)));
  CHECK(refuses(ErrorKind::mismatch, "torchao", items, "{}", with("IntxUnpackedToInt8Tensor")));
  CHECK(refuses(ErrorKind::mismatch, "torchao", items, "{}", with("Float8Tensor")));
  CHECK(refuses(ErrorKind::mismatch, "torchao", items, "{}", with("NVFP4Tensor")));
  CHECK(refuses(ErrorKind::mismatch, "torchao",
                changed(items,
                        [](auto& rows) {
                          rows[1].shape = {3, 1};
                        }),
                "{}", with("Int8Tensor")));
  CHECK(refuses(ErrorKind::unsupported, "torchao",
                changed(items,
                        [](auto& rows) {
                          rows.push_back({"a._weight_act_pre_scale", DType::f32, {4}});
                        }),
                "{}", with("Int8Tensor")));
}

TEST_CASE("exl2_refuses_what_contradicts_itself") {
  const auto refused = [](const Change& change) {
    return refuses(ErrorKind::mismatch, "exl2", changed(kExl2, change));
  };
  std::vector<Item> good = kExl2;
  item(good, "a.q_weight").shape = {1, 32};
  CHECK(!refuses(ErrorKind::mismatch, "exl2", good));
  CHECK(refuses(ErrorKind::mismatch, "exl2", kExl2));  // four rows where one is needed
  const auto groups = [](std::initializer_list<std::int16_t> values) {
    return [bytes = raw<std::int16_t>(values), count = values.size()](std::vector<Item>& items) {
      item(items, "a.q_groups") = {"a.q_groups", DType::i16, {count}, bytes};
    };
  };
  CHECK(refused(groups({7, 0})));
  CHECK(refused(groups({4, 1})));
  CHECK(refused(groups({4, 0, 4})));
  CHECK(refused(groups({4, 0, 4, 0})));
  CHECK(refused(groups({4, 0, 4, 30000})));
  CHECK(refused([](auto& items) { item(items, "a.q_invperm").bytes = raw<std::int32_t>({3, 2, 1, 4}); }));
  CHECK(refused([](auto& items) { item(items, "a.q_invperm").bytes = raw<std::int32_t>({3, 2, 1, -1}); }));
  CHECK(refused([](auto& items) { item(items, "a.q_invperm").bytes = raw<std::int32_t>({3, 2, 2, 0}); }));
  CHECK(refused([](auto& items) { item(items, "a.q_weight").shape = {1, 33}; }));
  CHECK(refused([](auto& items) { item(items, "a.q_scale").shape = {1, 3}; }));
  CHECK(refuses(ErrorKind::unsupported, "exl2", {{"a.trellis", DType::i16, {4, 4, 4}}}));
}
