#include "container_forgery.h"

#include <algorithm>
#include <stdexcept>

namespace ingot::test {

container::Slot slot_of(const std::vector<std::byte>& file, int number) {
  container::Slot slot;
  const Bytes bytes(file.data() + container::kSlotOffsets[static_cast<std::size_t>(number)], container::kSlotBytes);
  if (container::decode_slot(bytes, slot) != container::SlotState::valid)
    throw std::runtime_error("the slot is not valid");
  return slot;
}

std::string index_text_of(const std::vector<std::byte>& file) {
  const container::Slot slot = slot_of(file, 0);
  return std::string(as_text(Bytes(file.data() + slot.index_offset, slot.index_size)));
}

std::vector<std::byte> with_slot(const std::vector<std::byte>& file,
                                 const std::function<void(container::Slot&)>& change) {
  container::Slot slot = slot_of(file, 0);
  change(slot);
  std::vector<std::byte> changed = file;
  const container::SlotBytes bytes = container::encode_slot(slot);
  std::copy(bytes.begin(), bytes.end(), changed.begin() + container::kSlotOffsets[0]);
  return changed;
}

std::vector<std::byte> with_index_text(const std::vector<std::byte>& file, const std::string& text) {
  const container::Slot old = slot_of(file, 0);
  std::vector<std::byte> changed(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(old.index_offset));
  const Bytes bytes = as_bytes_view(text);
  changed.insert(changed.end(), bytes.begin(), bytes.end());
  return with_slot(changed, [&](container::Slot& slot) {
    slot.index_size = text.size();
    slot.index_hash = hash128(bytes);
    slot.file_size = changed.size();
  });
}

std::vector<std::byte> with_index(const std::vector<std::byte>& file, const std::function<void(Json&)>& change) {
  Json json = parse_json(index_text_of(file), "index");
  change(json);
  return with_index_text(file, canonical_json(json));
}

Json& member(Json& object, std::string_view name) {
  for (JsonMember& one : object.object())
    if (one.first == name) return one.second;
  throw std::runtime_error("no member " + std::string(name));
}

}  // namespace ingot::test
