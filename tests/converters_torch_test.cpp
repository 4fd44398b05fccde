// Files of torch.save and adapters of PEFT. tests/golden/foreign/torch holds what these libraries wrote, the values
// that they read from it, and files that must be refused (make.py beside them).
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "converters/files/torch_file.h"
#include "converters/files/torch_objects.h"
#include "converters/hf/directory.h"
#include "converters/hf/planes.h"
#include "converters/registry.h"
#include "tests/coded_checkpoints.h"
#include "tests/counted_memory.h"
#include "tests/expect_error.h"
#include "tests/temporary_directory.h"

using namespace ingot;
using namespace ingot::convert;
using ingot::test::error_of;
using ingot::test::file_text;
using ingot::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

const fs::path kFolder = fs::path(INGOT_TEST_DATA) / "golden/foreign/torch";

/// The tensor holds exactly what torch read: name, shape, type, values; bytes too where they lie in logical order.
void check_tensor(const tensor::Model& model, const std::string& name, const tensor::Tensor& wanted) {
  INFO(name);
  const tensor::Tensor* got = model.find(name);
  REQUIRE(got != nullptr);
  REQUIRE(got->shape == wanted.shape);
  REQUIRE(got->scheme.codes.type == wanted.scheme.codes.type);
  if (wanted.elements() == 0) return;
  const ValueComparison values = compare_values(*got, wanted);
  CHECK(values.fingerprint_a == values.fingerprint_b);
  if (!got->transforms.empty()) return;
  std::vector<std::byte> a(wanted.stored_bytes()), b(wanted.stored_bytes());
  pack_plain(*got, 0, a);
  pack_plain(wanted, 0, b);
  CHECK(a == b);
}

/// Every tensor that torch read is there, and nothing else. `name_of`: the neutral name.
template <class NameOf>
tensor::Model check_model(const fs::path& path, const std::string& expected, const NameOf& name_of) {
  INFO(path.string());
  tensor::Model model = read_model(path);
  const tensor::Model wanted = read_model(kFolder / (expected + ".expected.safetensors"));
  CHECK(model.tensors.size() + model.aliases.size() == wanted.tensors.size());
  for (const tensor::Tensor& tensor : wanted.tensors) check_tensor(model, name_of(tensor.name), tensor);
  return model;
}
tensor::Model check_model(const fs::path& path, const std::string& expected) {
  return check_model(path, expected, [](const std::string& name) { return name; });
}

/// Reads the bytes from a heap block of exactly their size, and touches what each tensor says it has.
std::optional<Error> read_bytes(std::string_view bytes) {
  const auto exact = std::make_unique<std::byte[]>(bytes.size());
  std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size(), exact.get());
  return error_of([&] {
    for (const WeightEntry& entry : read_torch_file(Bytes(exact.get(), bytes.size()), "test").entries) {
      CHECK(entry.begin <= entry.end);
      CHECK(entry.end <= bytes.size());
    }
  });
}

const char* const kSingleFiles[] = {
    "types.pt",  "types_protocol4.pt", "types_legacy.pt", "types_legacy_protocol4.pt", "types_legacy_protocol5.pt",
    "nested.pt", "modules.pt"};

}  // namespace

TEST_CASE("every element type, view and protocol reads as torch reads it") {
  for (const auto& [file, expected] : {std::pair{"types.pt", "types"},
                                       {"types_protocol4.pt", "types"},
                                       {"types_legacy.pt", "types_legacy"},
                                       {"types_legacy_protocol4.pt", "types_legacy"},
                                       {"types_legacy_protocol5.pt", "types_legacy"}}) {
    const tensor::Model model = check_model(kFolder / file, expected);
    CHECK(model.layout == "hf");
    CHECK(model.findings.empty());
    CHECK(model.aliases == std::map<std::string, std::string>{{"shared.b", "shared.a"}});
    // Dense and transposed tensors are the mapping's bytes, those that share a storage included.
    for (const tensor::Tensor& tensor : model.tensors) {
      INFO(tensor.name);
      const bool gathered = tensor.name == "view.permuted" || tensor.name == "view.transposed_3d" ||
                            tensor.name == "view.columns" || tensor.name == "view.every_second" ||
                            tensor.name == "view.repeated";
      CHECK(tensor.planes->view(0).has_value() != gathered);
    }
    CHECK(model.find("shared.reshaped")->planes->view(0)->data() == model.find("shared.a")->planes->view(0)->data());
    CHECK(model.find("view.rows")->planes->view(0)->data() ==
          model.find("view.whole")->planes->view(0)->data() + 2 * 10 * sizeof(float));
    CHECK(model.find("view.transposed")->transforms.size() == 1);
  }
}

TEST_CASE("rows of a gathered tensor read in any cut") {
  const tensor::Model model = read_model(kFolder / "types.pt");
  for (const char* name : {"view.permuted", "view.columns", "view.every_second", "view.repeated"}) {
    INFO(name);
    const tensor::Tensor& tensor = *model.find(name);
    std::vector<std::byte> whole(tensor.stored_bytes());
    pack_plain(tensor, 0, whole);
    for (std::uint64_t begin = 0; begin < whole.size(); begin += 3) {
      std::vector<std::byte> part(std::min<std::uint64_t>(7, whole.size() - begin));
      pack_plain(tensor, begin, part);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }
}

TEST_CASE("the state dict of a training checkpoint, and dictionaries of modules") {
  const tensor::Model nested = check_model(kFolder / "nested.pt", "nested");
  REQUIRE(nested.findings.size() == 1);
  CHECK(nested.findings[0].find("'state_dict'") != std::string::npos);
  CHECK(nested.findings[0].find("'optimizer'") != std::string::npos);
  CHECK(check_model(kFolder / "modules.pt", "modules").findings.empty());
}

TEST_CASE("a sharded checkpoint with its index, and the choice among files") {
  const tensor::Model model = check_model(kFolder / "sharded", "sharded");
  CHECK(model.config.architecture == "llama");
  CHECK(model.aliases.at("lm_head.weight") == "model.embed_tokens.weight");
  CHECK(model.find_attachment("hf/training_args.bin") != nullptr);

  const TemporaryDirectory scratch;
  fs::copy(kFolder / "sharded", scratch / "both");
  fs::copy(kFolder / "nested.expected.safetensors", scratch.path() / "both/model.safetensors");
  CHECK(read_model(scratch / "both").tensors.size() == 2);  // safetensors come first
  fs::copy(kFolder / "sharded", scratch / "missing");
  fs::remove(scratch.path() / "missing/pytorch_model-00002-of-00002.bin");
  CHECK(test::throws_kind(ErrorKind::io, [&] { (void)read_model(scratch / "missing"); }));
  fs::create_directory(scratch / "lone");
  fs::copy(kFolder / "nested.pt", scratch.path() / "lone/consolidated.00.pth");
  fs::copy(kFolder / "types.pt", scratch.path() / "lone/optimizer.pt");
  CHECK(read_model(scratch / "lone").tensors.size() == 2);
  std::ofstream(scratch / "pointer.bin") << "version https://git-lfs.github.com/spec/v1\n";
  fs::create_directory(scratch / "pointer");
  fs::rename(scratch / "pointer.bin", scratch.path() / "pointer/pytorch_model.bin");
  CHECK(test::throws_kind(ErrorKind::unsupported, [&] { (void)read_model(scratch / "pointer"); }));
}

TEST_CASE("a quantized checkpoint in a PyTorch file is read by its layout") {
  const tensor::Model model = read_model(kFolder / "gptq_bin");
  CHECK(model.layout == "gptq");
  const tensor::Model same = read_model(kFolder.parent_path() / "gptq/sym_v1");
  REQUIRE(model.tensors.size() == same.tensors.size());
  for (const tensor::Tensor& tensor : same.tensors) {
    INFO(tensor.name);
    const tensor::Tensor* got = model.find(tensor.name);
    REQUIRE(got != nullptr);
    CHECK(tensor::describe(got->scheme) == tensor::describe(tensor.scheme));
    const ValueComparison values = compare_values(*got, tensor);
    CHECK(values.fingerprint_a == values.fingerprint_b);
  }
}

TEST_CASE("restore gives PyTorch files and adapters back byte for byte") {
  for (const char* name : {"sharded", "gptq_bin", "lora", "dora_bin"}) test::check_restored_directory(kFolder / name);
  for (const char* name : kSingleFiles) {
    const TemporaryDirectory scratch;
    fs::create_directory(scratch / "model");
    fs::copy(kFolder / name, scratch.path() / "model" / name);
    test::check_restored_directory(scratch / "model");
  }
}

TEST_CASE("what is no tensor is refused by name, and nothing is executed") {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(kFolder / "hostile")) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    const std::optional<Error> error = error_of([&] { (void)hf_layout().read(entry.path(), {}); });
    REQUIRE(error);
    INFO(error->what());
    CHECK(error_kind_name(error->kind) == name.substr(0, name.find("__")));
    CHECK(std::string(error->what()).find(name) != std::string::npos);
    ++count;
  }
  CHECK(count > 40);
  for (const char* name : {"unsupported__os_system.pt", "unsupported__os_system_bare.pt"}) {
    const std::optional<Error> error = error_of([&] { (void)read_model(kFolder / "hostile" / name); });
    REQUIRE(error);
    CHECK(std::string(error->what()).find("refers to posix.system, which is not a tensor; nothing was executed") !=
          std::string::npos);
    CHECK(error->offset < fs::file_size(kFolder / "hostile" / name));
    CHECK(!fs::exists("executed"));
  }
}

TEST_CASE("every prefix of a PyTorch file is refused, and one byte more") {
  for (const char* name : {"nested.pt", "modules.pt", "types_legacy.pt", "types_legacy_protocol4.pt"}) {
    INFO(name);
    const std::string bytes = file_text(kFolder / name);
    CHECK(!read_bytes(bytes));
    std::size_t accepted = 0;
    for (std::size_t size = 0; size < bytes.size(); ++size)
      accepted += !read_bytes(std::string_view(bytes).substr(0, size));
    CHECK(accepted == 0);
    CHECK(read_bytes(bytes + '\0'));
  }
}

TEST_CASE("the largest pickles take less than 64 MB beyond their bytes") {
  const std::string begin("\x80\x02", 2);
  const auto repeated = [](std::string_view text, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += text;
    return all;
  };
  const std::size_t most = kMaxPickleValues - 8;
  const std::string list_of_itself = begin + "]" + repeated("2a", 4'000'000) + ".";
  const std::string cases[] = {begin + repeated("]", most) + repeated("a", most - 1) + ".",
                               begin + "(" + repeated("](NNNe", most) + "t.",
                               begin + repeated("(", most) + ".",
                               begin + repeated("]", 4 * most) + ".",
                               begin + repeated("]0", 4 * most) + "N.",
                               begin + "Nr" + std::string("\xf0\xff\x0f\x00", 4) + ".",
                               list_of_itself};
  for (const std::string& bytes : cases) {
    INFO(bytes.substr(2, 20));
    test::reset_memory_peak();
    const std::int64_t before = test::memory_in_use();
    ByteReader reader(as_bytes_view(bytes), "test");
    TorchObjects objects;
    (void)error_of([&] { (void)Pickle(reader, objects); });
    CHECK(test::memory_peak() - before < std::int64_t{64} << 20);
  }
}

TEST_CASE("containers keep their items when others grow between") {
  // Two lists filled in turn: each moves to the end several times.
  std::string bytes("\x80\x02]q\x00]q\x01", 8);
  for (char i = 0; i < 40; ++i)
    bytes += std::string("h\x00K", 3) + i + "a0" + std::string("h\x01K", 3) + static_cast<char>(i + 40) + "a0";
  bytes += "\x86.";
  ByteReader reader(as_bytes_view(bytes), "test");
  TorchObjects objects;
  const Pickle pickle(reader, objects);
  const auto lists = pickle.items(pickle.root());
  REQUIRE(lists.size() == 2);
  for (std::size_t which = 0; which < 2; ++which) {
    const auto items = pickle.items(pickle.at(lists[which]));
    REQUIRE(items.size() == 40);
    for (std::size_t i = 0; i < items.size(); ++i)
      CHECK(pickle.at(items[i]).number == static_cast<std::int64_t>(i + which * 40));
  }
}

TEST_CASE("mutated PyTorch files give tensors inside the file, or an Error") {
  std::mt19937 random(5);
  for (const char* name : {"nested.pt", "types_legacy.pt", "types_protocol4.pt"}) {
    const std::string bytes = file_text(kFolder / name);
    for (int round = 0; round < 3000; ++round) {
      std::string changed = bytes;
      // Mostly in the front, where the pickle is.
      const std::size_t span = random() % 4 == 0 ? changed.size() : std::min<std::size_t>(changed.size(), 3000);
      for (auto i = random() % 3 + 1; i > 0; --i) changed[random() % span] = static_cast<char>(random());
      (void)read_bytes(changed);
    }
  }
}

TEST_CASE("adapters: tensors as PEFT has them, facts in the metadata") {
  const auto neutral = [](const std::string& name) {
    const std::pair<std::string, std::string> endings[] = {
        {".lora_A.weight", ".lora_a"}, {".lora_B.weight", ".lora_b"}, {".lora_magnitude_vector", ".lora_magnitude"}};
    std::string result = name.substr(std::string("base_model.model.").size());
    for (const auto& [file, own] : endings)
      if (result.ends_with(file)) result.replace(result.size() - file.size(), file.size(), own);
    return result;
  };
  const tensor::Model lora = check_model(kFolder / "lora", "lora", neutral);
  CHECK(lora.find("model.layers.0.self_attn.v_proj.lora_a")->shape == tensor::Shape{4, 16});
  CHECK(lora.find("model.layers.0.mlp.down_proj.lora_b")->shape == tensor::Shape{16, 2});
  const std::map<std::string, std::string> facts = {{"adapter.type", "lora"},
                                                    {"adapter.rank", "4"},
                                                    {"adapter.alpha", "8"},
                                                    {"adapter.rank_pattern", R"({"down_proj":2})"},
                                                    {"adapter.alpha_pattern", R"({"v_proj":16})"},
                                                    {"adapter.rank_stabilized", "true"},
                                                    {"adapter.dora", "false"},
                                                    {"adapter.fan_in_fan_out", "false"},
                                                    {"adapter.bias", "none"},
                                                    {"adapter.base_model", "tiny/llama"},
                                                    {"adapter.task", "CAUSAL_LM"}};
  for (const auto& [key, value] : facts) {
    INFO(key);
    REQUIRE(lora.metadata.contains(key));
    CHECK(lora.metadata.at(key) == value);
  }
  // What else lies there in the same format is no part of the adapter.
  const TemporaryDirectory scratch;
  fs::copy(kFolder / "lora", scratch / "lora");
  fs::copy(scratch.path() / "lora/adapter_model.safetensors", scratch.path() / "lora/optimizer.safetensors");
  CHECK(read_model(scratch / "lora").metadata.at("adapter.rank") == "4");
  CHECK(read_model(scratch / "lora").tensors.size() == lora.tensors.size());
  const tensor::Model dora = check_model(kFolder / "dora_bin", "dora_bin", neutral);
  CHECK(dora.metadata.at("adapter.dora") == "true");
  CHECK(dora.metadata.at("adapter.whole_modules") == R"(["norm"])");
  CHECK(dora.find("model.layers.1.mlp.up_proj.lora_magnitude") != nullptr);
  CHECK(dora.find("model.norm.weight") != nullptr);
}
