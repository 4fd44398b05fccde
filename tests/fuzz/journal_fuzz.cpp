// Fuzz target: any lines as the journal of a conversion give an Error or records. Each line gets the hash that makes it
// count.
#include "converters/conversion/journal.h"
#include "fuzz_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ingot::fuzz::Directory directory("journal");
  std::string_view rest = ingot::as_text(std::as_bytes(std::span(data, size)));
  std::string sealed;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    sealed.append(line).append("\t").append(ingot::hash128(ingot::as_bytes_view(line)).hex()).append("\n");
  }
  for (const std::string_view text : {std::string_view(sealed), ingot::as_text(std::as_bytes(std::span(data, size)))}) {
    directory.write("journal", text);
    try {
      (void)ingot::convert::read_journal(directory.path() / "journal");
    } catch (const ingot::Error&) {
    }
  }
  return 0;
}
