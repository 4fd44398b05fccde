// Fuzz target: any bytes as a prompt cache give an Error, or a session that reads on from there. Three files are made
// of an input: the bytes themselves; the same with the hashes of the model and of the file set right; and keys, values
// and token ids under a header that fits.
#include <algorithm>
#include <array>

#include "converters/registry.h"
#include "format/base/hash.h"
#include "fuzz_directory.h"
#include "runtime/prompt_cache.h"

namespace {

using namespace ingot;

constexpr std::size_t kModelAt = 16, kTokensAt = 56, kHeaderBytes = 64, kHashBytes = 16;
constexpr std::uint64_t kContext = 32, kMaxTokens = 8;
constexpr std::array<runtime::KvType, 3> kTypes = {runtime::KvType::f32, runtime::KvType::f16, runtime::KvType::q8};

/// A small model, and a session for each type of keys and values.
struct Talk {
  tensor::Model model = convert::read_model(std::string(INGOT_TEST_DATA) + "/data/tiny-variants/qwen2");
  runtime::Session f32{model, kContext, runtime::Numerics::exact, kTypes[0]};
  runtime::Session f16{model, kContext, runtime::Numerics::exact, kTypes[1]};
  runtime::Session q8{model, kContext, runtime::Numerics::exact, kTypes[2]};
  std::array<runtime::Session*, 3> sessions = {&f32, &f16, &q8};
  fuzz::Directory directory{"prompt_cache"};
  std::array<std::string, 3> headers;  // of files that the sessions wrote themselves
  std::array<std::size_t, 3> position_bytes{};

  Talk() {
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      directory.write("unused", "");  // makes the directory
      const std::filesystem::path path = directory.path() / ("own" + std::to_string(i));
      const std::array<std::uint32_t, 2> tokens = {1, 2};
      runtime::PromptCache cache(path, model);
      sessions[i]->reset();
      (void)sessions[i]->forward(tokens);
      cache.save(*sessions[i]);
      const std::string bytes = read_text_file(path, std::uint64_t{1} << 20);
      headers[i] = bytes.substr(0, kHeaderBytes);
      position_bytes[i] = (bytes.size() - kHeaderBytes - kHashBytes) / tokens.size();
    }
  }

  void attempt(std::size_t index, std::string_view file, const std::vector<std::uint32_t>& prompt) {
    directory.write("file", file);
    runtime::Session& session = *sessions[index];
    try {
      runtime::PromptCache cache(directory.path() / "file", model);
      const std::uint64_t count = cache.restore(session, prompt);
      if (count == 0) return;
      (void)session.forward(std::span(prompt).subspan(count));
      cache.save(session);
    } catch (const Error&) {
    }
  }
};

std::string sealed(std::string bytes) {
  const Hash128 hash = hash128(as_bytes_view(bytes));
  bytes.append(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size());
  return bytes;
}

/// Token ids at `begin`, made those of a prompt: within the vocabulary, and one more.
std::vector<std::uint32_t> prompt_in(std::string_view file, std::uint64_t count, std::uint64_t vocabulary) {
  std::vector<std::uint32_t> prompt;
  for (std::uint64_t i = 0; i < count && kHeaderBytes + 4 * (i + 1) <= file.size(); ++i) {
    const auto id = load_le<std::uint32_t>(as_bytes_view(file).data() + kHeaderBytes + 4 * i);
    prompt.push_back(static_cast<std::uint32_t>(id % vocabulary));
  }
  prompt.push_back(1);
  return prompt;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Talk talk;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::size_t index = size == 0 ? 0 : data[size - 1] % kTypes.size();
  const std::uint64_t vocabulary = talk.sessions[index]->vocab_size();
  talk.attempt(index, input, prompt_in(input, kMaxTokens, vocabulary));

  std::string own = input;
  if (own.size() >= kHeaderBytes) own.replace(kModelAt, kHashBytes, talk.headers[index].substr(kModelAt, kHashBytes));
  talk.attempt(index, sealed(own), prompt_in(own, kMaxTokens, vocabulary));

  const std::uint64_t tokens = size == 0 ? 1 : data[0] % kMaxTokens + 1;
  std::string file = talk.headers[index] + input;
  file[kTokensAt] = static_cast<char>(tokens);
  file.resize(kHeaderBytes + tokens * talk.position_bytes[index]);
  talk.attempt(index, sealed(file), prompt_in(file, tokens, vocabulary));
  return 0;
}
