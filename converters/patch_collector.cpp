#include "converters/patch_collector.h"

#include <cstring>
#include <memory>

namespace ingot::convert {
namespace {

constexpr std::size_t kJoinBytes = 64;  // runs of differing bytes that lie as close as this become one patch

}  // namespace

void PatchCollector::compare(std::uint64_t offset, Bytes actual, Bytes packed) {
  if (actual.size() == packed.size() && std::memcmp(actual.data(), packed.data(), actual.size()) == 0) return;
  for (std::size_t i = 0; i < actual.size();) {
    if (actual[i] == packed[i]) {
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    for (std::size_t k = end; k < actual.size() && k < end + kJoinBytes; ++k)
      if (actual[k] != packed[k]) end = k + 1;
    add(offset + i, actual.subspan(i, end - i));
    i = end;
  }
}

void PatchCollector::finish(tensor::Model& model) {
  if (bytes_.empty()) return;
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes_));
  model.attachments.push_back({attachment_, Bytes(*owner), owner});
}

void PatchCollector::add(std::uint64_t offset, Bytes bytes) {
  tensor::SourceFile::Patch* last = file_.patches.empty() ? nullptr : &file_.patches.back();
  if (last != nullptr && last->offset + last->size == offset) {
    last->size += bytes.size();
  } else {
    file_.patches.push_back({offset, attachment_, bytes_.size(), bytes.size()});
  }
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

}  // namespace ingot::convert
