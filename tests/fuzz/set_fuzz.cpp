// Fuzz target: any indexes as a set of a manifest and two members give an Error or a model whose tensors decode. The
// input is
//     MANIFEST-INDEX NUL INDEX NUL INDEX NUL DATA
// Each file gets a header that fits, the indexes their canonical form, and ROOT1 and ROOT2 in the manifest become the
// members' hashes, so that mutations reach what a set checks. DATA follows the header page of every file.
#include <array>

#include "format/base/json.h"
#include "format/container/container.h"
#include "format/container/header.h"
#include "format/tensor/fingerprint.h"
#include "fuzz_directory.h"

namespace {

std::string canonical(std::string_view text) {
  try {
    return ingot::canonical_json(ingot::parse_json(text, "fuzz"));
  } catch (const ingot::Error&) {
    return std::string(text);
  }
}

/// The file of this index, and its hash.
std::pair<std::string, std::string> file_of(std::string_view index_text, std::string_view data) {
  const std::string index = canonical(index_text);
  ingot::container::Slot slot;
  slot.generation = 1;
  if (index.find("\"set\"") != std::string::npos) slot.required_features = ingot::container::kFeatureSet;
  slot.index_offset = ingot::container::kHeaderBytes + (data.size() + 63) / 64 * 64;
  slot.index_size = index.size();
  slot.index_hash = ingot::hash128(ingot::as_bytes_view(index));
  slot.file_size = slot.index_offset + index.size();
  const auto header = ingot::container::encode_header(slot);
  std::string file(ingot::as_text(ingot::Bytes(header)));
  file += data;
  file.resize(slot.index_offset, '\0');
  return {file + index, slot.index_hash.hex()};
}

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ingot::fuzz::Directory directory("set");
  std::string_view rest = ingot::as_text(std::as_bytes(std::span(data, size)));
  std::array<std::string_view, 3> indexes;
  for (std::string_view& index : indexes) {
    index = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), index.size() + 1));
  }
  std::string manifest(indexes[0]);
  directory.clear();
  for (const int number : {1, 2}) {
    const auto [file, hash] = file_of(indexes[static_cast<std::size_t>(number)], rest);
    directory.write("m" + std::to_string(number), file);
    replace_all(manifest, "ROOT" + std::to_string(number), hash);
  }
  directory.write("manifest", file_of(manifest, rest).first);
  try {
    const ingot::tensor::Model model = ingot::container::open(directory.path() / "manifest");
    for (const ingot::tensor::Tensor& tensor : model.tensors) (void)ingot::tensor::fingerprint(tensor);
  } catch (const ingot::Error&) {
  }
  (void)ingot::container::verify(directory.path() / "manifest", true, {});
  return 0;
}
