#include "runtime/commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>

#include "converters/commands.h"
#include "converters/registry.h"
#include "format/base/utf8.h"
#include "inspect/text.h"
#include "runtime/prompt_cache.h"
#include "runtime/runtime.h"

namespace ingot::runtime {
namespace {

struct RunCommand {
  std::string model, from, prompt, prompt_cache, system, kv;
  bool chat = false, exact = false;
  std::uint64_t context = 0;
  GenerateOptions options;
};

constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 40;  // far beyond any context

/// What the statistics line and the JSON document report.
struct Turn {
  std::uint64_t prompt_tokens = 0;
  std::optional<std::uint64_t> cached_tokens;  // of the prompt, from a file; empty: there was none to look into
  std::string cache_fault;                     // why the prompt could not be kept; the text is none the worse
  GenerateResult result;
};

/// A model that talks: session, tokenizer, and what the session has already read.
class Speaker {
 public:
  Speaker(const tensor::Model& model, const RunCommand& command)
      : session_(model, command.context, command.exact ? Numerics::exact : Numerics::fast, kv_type(command.kv)),
        tokenizer_(tokenizer_of(model)),
        options_(command.options),
        model_(model) {
    if (!command.prompt_cache.empty()) prompt_cache_.emplace(command.prompt_cache, model);
  }

  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  [[nodiscard]] std::vector<std::uint32_t> chat_tokens(const std::vector<Message>& messages) const {
    return tokenizer_.encode(render_chat(model_, messages, true), false, true);
  }
  [[nodiscard]] const Session& session() const noexcept { return session_; }

  /// Continues `tokens`; what the session has read of them before is not read again. `on_prompt_read` comes before the
  /// first text.
  [[nodiscard]] Turn speak(const std::vector<std::uint32_t>& tokens,
                           const std::function<bool(std::string_view)>& on_text,
                           const std::function<void()>& on_prompt_read) {
    const bool continues =
        !read_.empty() && read_.size() < tokens.size() && std::equal(read_.begin(), read_.end(), tokens.begin());
    Turn turn;
    if (!continues) {
      session_.reset();
      if (prompt_cache_) turn.cached_tokens = prompt_cache_->restore(session_, tokens);
      read_.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(session_.position()));
    }
    GenerateOptions options = options_;
    options.on_text = on_text;
    options.on_prompt_read = [&] {
      on_prompt_read();
      if (prompt_cache_) turn.cache_fault = keep_prompt();
    };
    turn.prompt_tokens = tokens.size() - read_.size();
    turn.result = generate(session_, tokenizer_, std::span(tokens).subspan(read_.size()), options);
    read_ = tokens;
    read_.insert(read_.end(), turn.result.tokens.begin(), turn.result.tokens.end());
    read_.resize(std::min<std::uint64_t>(read_.size(), session_.position()));
    return turn;
  }

 private:
  /// Returns what went wrong.
  [[nodiscard]] std::string keep_prompt() {
    try {
      prompt_cache_->save(session_);
      return {};
    } catch (const Error& error) {
      return error.what();
    }
  }

  Session session_;
  Tokenizer tokenizer_;
  GenerateOptions options_;
  const tensor::Model& model_;
  std::optional<PromptCache> prompt_cache_;
  std::vector<std::uint32_t> read_;
};

std::string statistics(const Turn& turn, const Session& session) {
  const std::uint64_t bytes_per_token = session.weight_bytes_per_token();
  const GenerateResult& result = turn.result;
  const auto speed = [](std::uint64_t tokens, double seconds) {
    return tokens > 0 && seconds > 0 ? " (" + inspect::fixed(static_cast<double>(tokens) / seconds, 1) + " tokens/s)"
                                     : std::string();
  };
  std::string text = "prompt " + inspect::plural(turn.prompt_tokens, "token") + " in " +
                     inspect::human_seconds(result.prompt_seconds) + speed(turn.prompt_tokens, result.prompt_seconds) +
                     ", generated " + inspect::plural(result.tokens.size(), "token") + " in " +
                     inspect::human_seconds(result.decode_seconds) + speed(result.decode_steps, result.decode_seconds);
  text += ", " + inspect::human_bytes(bytes_per_token) + "/token";
  if (result.decode_steps > 0) {
    const auto read = static_cast<double>(bytes_per_token * result.decode_steps);
    text += " = " + inspect::human_rate(read, result.decode_seconds);
  }
  text += ", KV cache " + inspect::human_bytes(session.kv_bytes()) + " (" + std::string(name(session.kv())) + ")";
  if (turn.cached_tokens) text += ", " + inspect::plural(*turn.cached_tokens, "token") + " from the prompt cache";
  if (session.copied_bytes() > 0) {
    text += ", weights repacked " + inspect::human_bytes(session.copied_bytes()) + " in " +
            inspect::human_seconds(session.load_seconds());
  }
  return text + ", stopped: " + result.stop_reason;
}

Json turn_json(const Turn& turn, const Session& session) {
  Json tokens(JsonArray{});
  for (const std::uint32_t token : turn.result.tokens) tokens.push_back(static_cast<std::uint64_t>(token));
  Json document;
  document.set("text", to_valid_utf8(turn.result.text));
  document.set("tokens", std::move(tokens));
  document.set("stop_reason", turn.result.stop_reason);
  document.set("prompt_tokens", turn.prompt_tokens);
  document.set("cached_tokens", turn.cached_tokens.value_or(0));
  document.set("prompt_seconds", turn.result.prompt_seconds);
  document.set("decode_seconds", turn.result.decode_seconds);
  document.set("decode_steps", turn.result.decode_steps);
  document.set("weight_bytes_per_token", session.weight_bytes_per_token());
  document.set("load_seconds", session.load_seconds());
  document.set("repacked_bytes", session.copied_bytes());
  document.set("kv_type", std::string(name(session.kv())));
  document.set("kv_bytes", session.kv_bytes());
  if (!turn.cache_fault.empty()) document.set("prompt_cache_fault", to_valid_utf8(turn.cache_fault));
  return document;
}

/// Streams the text after `prompt`, which is not shown before it was read: until then much can be wrong with it. Shows
/// nothing where a document is wanted, which the caller makes.
Turn answer(Speaker& speaker, const std::vector<std::uint32_t>& tokens, Console& console,
            const std::string& prompt = {}) {
  const bool streams = !console.json();
  const auto show = [&](std::string_view piece) {
    if (streams) console.print(piece);
    return !Console::interrupted();
  };
  Turn turn = speaker.speak(tokens, show, [&] { (void)show(prompt); });
  if (streams) console.print("\n");
  if (!turn.cache_fault.empty()) {
    console.note("ingot: " + inspect::printable(turn.cache_fault) + "; the prompt is not kept");
    console.exit_code = ExitCode::failed;
  }
  if (!streams) return turn;
  console.note(inspect::paint(statistics(turn, speaker.session()), inspect::Ink::faint, console.error_style()));
  return turn;
}

/// A reply with what the document lists. False when that failed: the document of the replies before it is printed then.
bool reply(Speaker& speaker, std::vector<Message>& messages, Json& turns, Console& console) {
  try {
    const Turn turn = answer(speaker, speaker.chat_tokens(messages), console);
    if (console.json()) turns.push_back(turn_json(turn, speaker.session()));
    messages.push_back({"assistant", turn.result.text});
    return true;
  } catch (const Error& error) {
    if (!console.json()) throw;
    Json document;
    document.set("turns", std::move(turns));
    console.report(error, std::move(document));
    console.exit_code = ExitCode::failed;
    return false;
  }
}

/// Every line of the standard input is a message. A person ends with an empty line; in a pipe it says nothing. With
/// --json the document lists all replies.
void converse(Speaker& speaker, std::vector<Message> messages, Console& console) {
  const bool prompts = console.stdin_is_terminal() && !console.json();
  if (prompts)
    console.note("Chat with the model. An empty line, Ctrl-D or Ctrl-C at the prompt ends it; Ctrl-C stops a reply.");
  Json turns(JsonArray{});
  for (std::string line;;) {
    Console::let_interrupts_end();
    if (prompts) console.print("> ");
    if (!std::getline(std::cin, line) || (prompts && line.empty())) break;
    if (line.empty()) continue;
    Console::catch_interrupts();
    messages.push_back({"user", line});
    if (!reply(speaker, messages, turns, console)) return;
    if (!prompts && Console::interrupted()) throw Interrupted{};
  }
  if (prompts) console.print("\n");
  if (!console.json()) return;
  Json document;
  document.set("turns", std::move(turns));
  console.print_json(document);
}

void run(RunCommand& command, bool has_prompt, Console& console) {
  const bool converses = command.chat && !has_prompt;
  if (!has_prompt && !converses) {
    if (console.stdin_is_terminal()) throw CLI::RequiredError("-p TEXT (or text on the standard input, or --chat)");
    command.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  }
  const tensor::Model model = convert::read_model(command.model, command.from);
  console.note_findings(model.findings);
  Speaker speaker(model, command);
  std::vector<Message> messages;
  if (!command.system.empty()) messages.push_back({"system", command.system});
  if (converses) return converse(speaker, std::move(messages), console);
  std::vector<std::uint32_t> tokens;
  if (command.chat) {
    messages.push_back({"user", command.prompt});
    tokens = speaker.chat_tokens(messages);
  } else {
    tokens = speaker.tokenizer().encode(command.prompt, true, false);
  }
  if (tokens.empty())
    throw Error(ErrorKind::invalid_value, "the prompt has no tokens, and this model adds none at the beginning");
  Console::catch_interrupts();
  const Turn turn = answer(speaker, tokens, console, command.chat ? std::string() : command.prompt);
  if (console.json()) console.print_json(turn_json(turn, speaker.session()));
  if (Console::interrupted()) console.exit_code = ExitCode::interrupted;
}

/// Where a number may lie; both ends belong to it unless `above_least`. NaN lies nowhere.
CLI::Validator number_within(double least, double most, bool above_least = false) {
  return CLI::Validator(
      [=](std::string& text) {
        double number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        const bool is_number = error == std::errc{} && end == text.data() + text.size();
        if (is_number && (above_least ? number > least : number >= least) && number <= most) return std::string();
        return "expected a number " + std::string(above_least ? "above " : "from ") + inspect::short_float(least) +
               (above_least ? " and at most " : " to ") + inspect::short_float(most) + ", got '" + text + "'";
      },
      "");
}

CLI::Validator whole_number_up_to(std::uint64_t most) {
  return CLI::Validator(
      [=](std::string& text) {
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error == std::errc{} && end == text.data() + text.size() && number <= most) return std::string();
        return "expected a whole number from 0 to " + std::to_string(most) + ", got '" + text + "'";
      },
      "");
}

}  // namespace

void add_commands(CLI::App& app, Console& console) {
  const auto command = std::make_shared<RunCommand>();
  GenerateOptions& options = command->options;
  CLI::App* verb = app.add_subcommand("run", "Generate text from a model in any layout");
  verb->add_option("MODEL", command->model, "File or directory in any layout")->required();
  CLI::Option* prompt =
      verb->add_option("-p,--prompt", command->prompt, "Text to continue (default: the standard input)")
          ->type_name("TEXT");
  verb->add_option("-n,--tokens", options.max_tokens, "Most tokens to generate")
      ->capture_default_str()
      ->check(whole_number_up_to(kMostTokens))
      ->type_name("N");
  verb->add_flag("--chat", command->chat, "Use the model's chat template; without -p a conversation, line by line");
  verb->add_option("--system", command->system, "System message of a chat")->type_name("TEXT")->needs("--chat");
  verb->add_option("--temperature", options.sampling.temperature, "0 takes the likeliest token")
      ->capture_default_str()
      ->check(number_within(0, 100))
      ->type_name("T");
  verb->add_option("--top-k", options.sampling.top_k, "Draw from the K likeliest tokens; 0: all")
      ->capture_default_str()
      ->check(whole_number_up_to(std::numeric_limits<std::uint32_t>::max()))
      ->type_name("K");
  verb->add_option("--top-p", options.sampling.top_p, "Draw from the likeliest tokens of total probability P")
      ->capture_default_str()
      ->check(number_within(0, 1, true))
      ->type_name("P");
  verb->add_option("--min-p", options.sampling.min_p, "Leave out tokens below P times the likeliest")
      ->capture_default_str()
      ->check(number_within(0, 1))
      ->type_name("P");
  verb->add_option("--repetition-penalty", options.sampling.repetition_penalty,
                   "Make tokens that came before less likely: above 1; 1: off")
      ->capture_default_str()
      ->check(number_within(0, 100, true))
      ->type_name("R");
  verb->add_option("--seed", options.sampling.seed, "The same seed draws the same text")
      ->capture_default_str()
      ->check(whole_number_up_to(std::numeric_limits<std::uint64_t>::max()))
      ->type_name("N");
  verb->add_option("--stop", options.stop, "Stop before this text (repeatable)")
      ->check([](const std::string& text) { return text.empty() ? "the text is empty" : ""; })
      ->type_name("TEXT")
      ->allow_extra_args(false);
  verb->add_option("--context", command->context, "Positions to reserve; 0: the model's limit, at most 4096 (default)")
      ->check(whole_number_up_to(kMostTokens))
      ->type_name("N");
  verb->add_flag("--exact", command->exact,
                 "Decode weights exactly and add in float32; slower (default: inputs as int8, entries of tables "
                 "as 8 bits)");
  verb->add_option("--kv", command->kv, "How keys and values are kept (default: f16, with --exact f32)")
      ->check(CLI::IsMember(std::vector<std::string>(kv_names().begin(), kv_names().end())))
      ->type_name("f32|f16|q8");
  verb->add_option("--prompt-cache", command->prompt_cache,
                   "Keep the prompt's keys and values in FILE; what FILE has of a prompt's beginning is not computed "
                   "(the same text only with --exact)")
      ->type_name("FILE");
  verb->add_flag("--ignore-end", options.ignore_end, "Go on past the end-of-text token");
  convert::add_from_option(*verb, command->from);
  console.add_common_options(*verb);
  verb->footer(
      "The text streams to the standard output, statistics go to the standard error at the end.\n"
      "With --chat and without -p every line of the standard input is a message, answered before the\n"
      "next is read; empty lines of a pipe are skipped. Its end ends the chat.\n"
      "A prompt cache is refused for another model: config, names, sizes and samples of the weights tell,\n"
      "of an .ingot the fingerprints; a few changed bytes of another layout may not.\n\n"
      "Examples:\n"
      "  ingot run model.ingot -p 'Once upon a time' -n 64\n"
      "  ingot run model.gguf --chat\n"
      "  printf 'Hello\\nTell me more\\n' | ingot run model.gguf --chat\n"
      "  ingot run checkpoint/ --chat -p 'Why is the sky blue?' --temperature 0.7 --seed 1\n"
      "  echo 'It was a dark night' | ingot run model.ingot --top-p 0.9 --temperature 1");
  verb->callback([command, prompt, &console] { run(*command, prompt->count() > 0, console); });
  add_bench_command(app, console);
  add_eval_command(app, console);
  add_tokenize_command(app, console);
}

}  // namespace ingot::runtime
