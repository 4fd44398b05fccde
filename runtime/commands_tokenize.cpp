// The verb tokenize: text -> token ids and back.
#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>
#include <iterator>
#include <memory>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/base/mapped_file.h"
#include "format/base/utf8.h"
#include "inspect/text.h"
#include "runtime/commands.h"
#include "runtime/runtime.h"

namespace ingot::runtime {
namespace {

struct TokenizeCommand {
  std::string model, from, text, messages;
  bool bare = false, parse_special = false, pieces = false, decode = false, null = false, rendered = false,
       no_reply = false;
};

/// The texts of the input: one, or with --null what stands before each NUL.
std::vector<std::string> texts_of(const TokenizeCommand& command) {
  if (!command.null) return {command.text};
  std::vector<std::string> texts;
  for (std::size_t begin = 0; begin < command.text.size();) {
    const std::size_t end = std::min(command.text.find('\0', begin), command.text.size());
    texts.push_back(command.text.substr(begin, end - begin));
    begin = end + 1;
  }
  return texts;
}

/// Ids between blanks or commas. Throws invalid_value.
std::vector<std::uint32_t> ids_of(std::string_view text, std::uint64_t vocab_size) {
  constexpr std::string_view kBetween = " ,\t\r\n";
  std::vector<std::uint32_t> ids;
  for (std::size_t begin = text.find_first_not_of(kBetween); begin != std::string_view::npos;
       begin = text.find_first_not_of(kBetween, begin)) {
    const std::string_view word = text.substr(begin, text.find_first_of(kBetween, begin) - begin);
    std::uint32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc{} || end != word.data() + word.size() || id >= vocab_size) {
      throw Error(ErrorKind::invalid_value,
                  "token '" + inspect::printable(word) + "': expected a number below " + std::to_string(vocab_size));
    }
    ids.push_back(id);
    begin += word.size();
  }
  return ids;
}

/// What the model's chat template makes of a JSON list of {"role": .., "content": ..}.
std::string rendered(const TokenizeCommand& command, const tensor::Model& model) {
  constexpr std::uint64_t kMostBytes = 64u << 20;
  const Json json = parse_json(read_text_file(command.messages, kMostBytes), command.messages);
  std::vector<Message> messages;
  for (const Json& one : json.as_array(command.messages)) {
    const std::string where = command.messages + ": message " + std::to_string(messages.size() + 1);
    const auto field = [&](const char* name) { return one.at(name, where).as_string(where + ": " + name); };
    messages.push_back({field("role"), field("content")});
  }
  return render_chat(model, messages, !command.no_reply);
}

Json document(const Tokenizer& tokenizer, const std::vector<std::uint32_t>& ids) {
  Json tokens(JsonArray{}), pieces(JsonArray{});
  for (const std::uint32_t id : ids) {
    tokens.push_back(static_cast<std::uint64_t>(id));
    pieces.push_back(to_valid_utf8(tokenizer.token_bytes(id, true)));
  }
  Json json;
  json.set("tokens", std::move(tokens));
  json.set("pieces", std::move(pieces));
  return json;
}

std::string pieces_text(const Tokenizer& tokenizer, const std::vector<std::uint32_t>& ids,
                        const inspect::TextStyle& style) {
  inspect::TextTable table({{"ID", inspect::TextTable::Align::right}, {"TEXT", inspect::TextTable::Align::left}});
  for (const std::uint32_t id : ids)
    table.add_row({std::to_string(id), "'" + inspect::printable(tokenizer.token_bytes(id, true)) + "'"});
  return table.render(style);
}

std::string line_of(const std::vector<std::uint32_t>& ids) {
  std::string line;
  for (const std::uint32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return line + "\n";
}

void print_rendered(const std::string& text, Console& console) {
  if (!console.json()) return console.print(text);
  Json json;
  json.set("text", to_valid_utf8(text));
  console.print_json(json);
}

void run_tokenize(TokenizeCommand& command, bool has_text, Console& console) {
  const bool chats = !command.messages.empty();
  if (!has_text && !chats) {
    if (console.stdin_is_terminal()) throw CLI::RequiredError("-p TEXT (or text on the standard input)");
    command.text.assign(std::istreambuf_iterator<char>(std::cin), {});
  }
  const tensor::Model model = convert::read_model(command.model, command.from);
  console.note_findings(model.findings);
  const Tokenizer tokenizer = tokenizer_of(model);
  if (chats) {
    command.text = rendered(command, model);
    command.bare = command.parse_special = true;  // the template writes the control tokens
    if (command.rendered) return print_rendered(command.text, console);
  }
  Json documents(JsonArray{});
  std::string output;
  for (const std::string& text : texts_of(command)) {
    const std::vector<std::uint32_t> ids = command.decode
                                               ? ids_of(text, model.tokenizer->tokens.size())
                                               : tokenizer.encode(text, !command.bare, command.parse_special);
    if (console.json()) {
      documents.push_back(document(tokenizer, ids));
    } else if (command.decode) {
      output += tokenizer.decode(ids, command.parse_special) + "\n";
    } else {
      output += command.pieces ? pieces_text(tokenizer, ids, console.style()) : line_of(ids);
    }
  }
  if (!console.json()) return console.print(output);
  Json json;
  json.set("texts", std::move(documents));
  console.print_json(json);
}

}  // namespace

void add_tokenize_command(CLI::App& app, Console& console) {
  const auto command = std::make_shared<TokenizeCommand>();
  CLI::App* verb = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  CLI::Option* text =
      verb->add_option("-p,--prompt", command->text, "The text (default: the standard input)")->type_name("TEXT");
  verb->add_flag("--bare", command->bare, "Add no token that begins or ends a text");
  verb->add_flag("--special", command->parse_special, "Control tokens written in the text count as such");
  verb->add_flag("--pieces", command->pieces, "A line for every token, with its text");
  CLI::Option* decode = verb->add_flag("--decode", command->decode, "The other way: numbers become text");
  decode->excludes("--pieces");
  CLI::Option* null =
      verb->add_flag("--null", command->null, "Many texts, a NUL byte after each; a line of output for each");
  CLI::Option* messages =
      verb->add_option("--messages", command->messages,
                       "The text is what the chat template makes of a JSON list of {\"role\", \"content\"}")
          ->type_name("FILE")
          ->excludes(text)
          ->excludes(null)
          ->excludes(decode);
  verb->add_flag("--no-reply", command->no_reply, "Leave out what begins the model's reply")->needs(messages);
  verb->add_flag("--rendered", command->rendered, "Print that text itself instead of its tokens")->needs(messages);
  convert::add_from_option(*verb, command->from);
  console.add_common_options(*verb);
  verb->footer(
      "Tokens are those that 'run' reads: without --special, control tokens in a text are plain text.\n"
      "In messages they count wherever they stand, also inside a content, as in transformers.\n\n"
      "Examples:\n"
      "  ingot tokenize model.gguf -p 'Once upon a time'\n"
      "  ingot tokenize model.gguf -p '<|im_start|>user' --special --pieces\n"
      "  ingot tokenize model.gguf --messages chat.json --rendered\n"
      "  echo '1 422 31' | ingot tokenize checkpoint/ --decode");
  verb->callback([command, text, &console] { run_tokenize(*command, text->count() > 0, console); });
}

}  // namespace ingot::runtime
