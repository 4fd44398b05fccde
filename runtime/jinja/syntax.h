// Template source -> tree. Whitespace rules are those of transformers' environment: trim_blocks, lstrip_blocks, the
// final newline dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/jinja/value.h"

namespace ingot::runtime::jinja {

enum class TokenKind : std::uint8_t { name, string, integer, real, symbol, end };

struct Token {
  TokenKind kind;
  std::string text;  // string: the value without quotes
};

/// One stretch of the source: literal text, or the tokens of an expression {{ }} or statement {% %}.
struct Segment {
  enum class Kind : std::uint8_t { text, expression, statement } kind;
  std::string text;           // literal; otherwise the source between the delimiters
  std::vector<Token> tokens;  // closed by an `end` token
  std::uint32_t line;
};
[[nodiscard]] std::vector<Segment> split_template(std::string_view source);

struct Node;
using NodePtr = std::unique_ptr<Node>;

enum class NodeKind : std::uint8_t {
  // Expressions. children / text:
  literal,  // value
  name,     // text
  list,
  tuple,      // items
  dict,       // key, value, key, value, ...
  attribute,  // object; text
  item,       // object, index
  slice,      // object, start, stop, step (null where absent)
  call,       // callee, positional arguments...; names[i] for the last names.size() of them
  filter,     // input, arguments as for call; text
  test,       // input, arguments; text; flag: negated
  unary,      // operand; text: "-", "+", "not"
  binary,     // left, right; text: operator
  condition,  // value, condition, otherwise (null: undefined)
  // Statements.
  output,     // expression
  text,       // text
  block,      // statements
  if_else,    // condition, then, otherwise (block, null: none)
  for_loop,   // target, iterable, filter (null: none), body, otherwise (null: none)
  set,        // target, value
  set_block,  // target, body
  macro,      // text; names: parameters; children: defaults of the last ones..., body last
  break_loop,
  continue_loop,
};

struct Node {
  NodeKind kind;
  std::string text;
  Value value;
  std::vector<NodePtr> children;
  std::vector<std::string> names;
  bool flag = false;
  std::uint32_t line = 0;
};

/// Throws invalid_value for syntax errors and unsupported (quoting the statement) for tags outside the subset.
[[nodiscard]] NodePtr parse_template(std::string_view source);

// expression.cpp: parses one expression from the tokens of a segment; `at` moves behind it.
class ExpressionParser {
 public:
  ExpressionParser(const Segment& segment) noexcept : segment_(segment) {}
  [[nodiscard]] NodePtr expression();  // with inline if
  [[nodiscard]] NodePtr expression_or_tuple();
  [[nodiscard]] NodePtr iterable();                  // without inline if: the `if` of a for statement follows
  [[nodiscard]] NodePtr target();                    // names, tuples of names, namespace attributes
  [[nodiscard]] bool accept(std::string_view text);  // a symbol or keyword
  void expect(std::string_view text);
  [[nodiscard]] std::string name();
  void finish();  // nothing may follow
  [[nodiscard]] bool at_end() const noexcept { return peek().kind == TokenKind::end; }
  [[noreturn]] void syntax_error(const std::string& wanted) const;

 private:
  [[nodiscard]] const Token& peek(std::size_t ahead = 0) const noexcept;
  [[nodiscard]] bool next_is(std::string_view text, std::size_t ahead = 0) const noexcept;
  [[nodiscard]] NodePtr node(NodeKind kind, std::string text = {}) const;
  [[nodiscard]] NodePtr either();
  [[nodiscard]] NodePtr both();
  [[nodiscard]] NodePtr negation();
  [[nodiscard]] NodePtr comparison();
  [[nodiscard]] NodePtr binary_level(std::size_t level);
  [[nodiscard]] NodePtr unary(bool with_filters);
  [[nodiscard]] NodePtr primary();
  [[nodiscard]] NodePtr parenthesized();
  [[nodiscard]] NodePtr list_or_dict();
  [[nodiscard]] NodePtr postfix(NodePtr object);
  [[nodiscard]] NodePtr subscript(NodePtr object);
  [[nodiscard]] NodePtr filters_and_tests(NodePtr input);
  [[nodiscard]] NodePtr test(NodePtr input);
  void arguments(Node& call);

  const Segment& segment_;
  std::size_t at_ = 0;
  std::uint32_t depth_ = 0;
};

}  // namespace ingot::runtime::jinja
