// tokenizer.model (SentencePiece, protobuf wire format) -> TokenizerSpec. Only the fields that decide how text is cut
// are read.
#include <bit>

#include "converters/hf/tokenizer.h"

namespace ingot::convert {
namespace {

using tensor::TokenizerKind;
using tensor::TokenizerSpec;
using tensor::TokenType;

enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct Field {
  std::uint32_t number = 0;
  WireType type = WireType::varint;
  std::uint64_t value = 0;  // varint, fixed32, fixed64
  Bytes bytes;              // bytes
};

std::uint64_t read_varint(ByteReader& reader) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint8_t byte = reader.read_u8("protobuf varint");
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  throw Error(ErrorKind::invalid_value, std::string(reader.where()) + ": a protobuf varint of more than 10 bytes",
              reader.offset());
}

Field read_field(ByteReader& reader) {
  const std::uint64_t key = read_varint(reader);
  Field field;
  field.number = static_cast<std::uint32_t>(key >> 3);
  field.type = static_cast<WireType>(key & 7);
  if (key >> 3 == 0 || key >> 3 > 0x1FFFFFFF) {
    throw Error(ErrorKind::invalid_value,
                std::string(reader.where()) + ": protobuf field number " + std::to_string(key >> 3), reader.offset());
  }
  switch (field.type) {
    case WireType::varint: field.value = read_varint(reader); return field;
    case WireType::fixed64: field.value = reader.read_u64("protobuf field"); return field;
    case WireType::fixed32: field.value = reader.read_u32("protobuf field"); return field;
    case WireType::bytes: field.bytes = reader.take(read_varint(reader), "protobuf field"); return field;
  }
  throw Error(ErrorKind::invalid_value, std::string(reader.where()) + ": protobuf wire type " + std::to_string(key & 7),
              reader.offset());
}

template <class Visit>
void for_each_field(Bytes message, std::string_view where, const Visit& visit) {
  ByteReader reader(message, where);
  while (reader.remaining() > 0) visit(read_field(reader));
}

void read_piece(Bytes message, TokenizerSpec& spec, std::string_view where) {
  std::string piece;
  float score = 0;
  std::uint64_t type = 1;
  for_each_field(message, where, [&](const Field& field) {
    if (field.number == 1 && field.type == WireType::bytes) piece = as_text(field.bytes);
    if (field.number == 2 && field.type == WireType::fixed32)
      score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    if (field.number == 3 && field.type == WireType::varint) type = field.value;
  });
  if (type < 1 || type > 6)
    throw Error(ErrorKind::invalid_value,
                std::string(where) + ": piece '" + piece + "' has type " + std::to_string(type));
  spec.tokens.push_back(std::move(piece));
  spec.scores.push_back(score);
  spec.types.push_back(static_cast<TokenType>(type));
}

/// Ids are signed; -1 says that there is no such token.
void set_id(std::optional<std::uint32_t>& id, const Field& field) {
  const auto value = static_cast<std::int64_t>(field.value);
  if (value < 0 || value > INT32_MAX) {
    id.reset();
  } else {
    id = static_cast<std::uint32_t>(value);
  }
}

void read_trainer(Bytes message, TokenizerSpec& spec, std::string_view where) {
  std::uint64_t model_type = 1;
  spec.unknown = 0;  // the format's defaults
  spec.bos = 1;
  spec.eos = 2;
  for_each_field(message, where, [&](const Field& field) {
    if (field.type != WireType::varint) return;
    switch (field.number) {
      case 3: model_type = field.value; break;
      case 35: spec.byte_fallback = field.value != 0; break;
      case 40: set_id(spec.unknown, field); break;
      case 41: set_id(spec.bos, field); break;
      case 42: set_id(spec.eos, field); break;
      case 43: set_id(spec.padding, field); break;
      default: break;
    }
  });
  if (model_type != 1 && model_type != 2) {
    throw Error(ErrorKind::unsupported,
                std::string(where) + ": SentencePiece model type " + std::to_string(model_type) + " (word or char)");
  }
  spec.kind = model_type == 1 ? TokenizerKind::unigram : TokenizerKind::spm_bpe;
}

void read_normalizer(Bytes message, TokenizerSpec& spec, std::string_view where) {
  bool dummy_prefix = true, remove_extra = true, has_charsmap = false;
  for_each_field(message, where, [&](const Field& field) {
    if (field.number == 2 && field.type == WireType::bytes) has_charsmap = !field.bytes.empty();
    if (field.number == 3 && field.type == WireType::varint) dummy_prefix = field.value != 0;
    if (field.number == 4 && field.type == WireType::varint) remove_extra = field.value != 0;
  });
  spec.add_space_prefix = spec.strip_one_leading_space = dummy_prefix;
  if (has_charsmap) spec.normalizer.push_back({"precompiled", "", ""});
  if (remove_extra) spec.normalizer.push_back({"remove_extra_whitespaces", "", ""});
}

void check_id(std::optional<std::uint32_t>& id, const TokenizerSpec& spec, std::string_view where) {
  if (id && *id >= spec.tokens.size()) {
    throw Error(ErrorKind::invalid_value, std::string(where) + ": special token id " + std::to_string(*id) + " of " +
                                              std::to_string(spec.tokens.size()) + " tokens");
  }
}

}  // namespace

TokenizerSpec read_sentencepiece_model(Bytes bytes, std::string_view where) {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::unigram;
  spec.add_space_prefix = spec.strip_one_leading_space = true;
  for_each_field(bytes, where, [&](const Field& field) {
    if (field.type != WireType::bytes) return;
    if (field.number == 1) read_piece(field.bytes, spec, where);
    if (field.number == 2) read_trainer(field.bytes, spec, where);
    if (field.number == 3) read_normalizer(field.bytes, spec, where);
  });
  if (spec.tokens.empty()) throw Error(ErrorKind::invalid_value, std::string(where) + ": holds no pieces");
  spec.fuse_unknown = true;
  for (std::optional<std::uint32_t>* id : {&spec.unknown, &spec.bos, &spec.eos, &spec.padding})
    check_id(*id, spec, where);
  return spec;
}

}  // namespace ingot::convert
