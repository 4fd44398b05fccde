// Expressions, by jinja2's precedence: inline if, or, and, not, comparisons, + -, ~, * / // %, unary, postfix, filters
// and tests.
#include <algorithm>
#include <charconv>
#include <iterator>

#include "runtime/jinja/syntax.h"

namespace ingot::runtime::jinja {
namespace {

constexpr std::uint32_t kMaxDepth = 100;

// Left-associative levels above unary operators, loosest first.
struct Level {
  std::string_view symbols[4];
};
constexpr Level kLevels[] = {{{"+", "-"}}, {{"~"}}, {{"*", "/", "//", "%"}}};

// Counts nesting so that hostile templates cannot exhaust the stack.
class DepthGuard {
 public:
  explicit DepthGuard(std::uint32_t& depth) : depth_(depth) {
    if (++depth_ > kMaxDepth) fail("expressions nest deeper than " + std::to_string(kMaxDepth));
  }
  ~DepthGuard() { --depth_; }

 private:
  std::uint32_t& depth_;
};

NodePtr with_children(NodePtr node, NodePtr first, NodePtr second = nullptr) {
  node->children.push_back(std::move(first));
  if (second) node->children.push_back(std::move(second));
  return node;
}

}  // namespace

const Token& ExpressionParser::peek(std::size_t ahead) const noexcept {
  return segment_.tokens[std::min(at_ + ahead, segment_.tokens.size() - 1)];
}

bool ExpressionParser::next_is(std::string_view text, std::size_t ahead) const noexcept {
  const Token& token = peek(ahead);
  return (token.kind == TokenKind::symbol || token.kind == TokenKind::name) && token.text == text;
}

bool ExpressionParser::accept(std::string_view text) {
  if (!next_is(text)) return false;
  ++at_;
  return true;
}

void ExpressionParser::expect(std::string_view text) {
  if (!accept(text)) syntax_error("'" + std::string(text) + "'");
}

std::string ExpressionParser::name() {
  if (peek().kind != TokenKind::name) syntax_error("a name");
  return segment_.tokens[at_++].text;
}

void ExpressionParser::finish() {
  if (!at_end()) syntax_error("the end of the tag");
}

void ExpressionParser::syntax_error(const std::string& wanted) const {
  const std::string got = at_end() ? "the end of the tag" : "'" + peek().text + "'";
  fail("line " + std::to_string(segment_.line) + ": expected " + wanted + ", got " + got + " in \"" + segment_.text +
       "\"");
}

NodePtr ExpressionParser::node(NodeKind kind, std::string text) const {
  auto result = std::make_unique<Node>();
  result->kind = kind;
  result->text = std::move(text);
  result->line = segment_.line;
  return result;
}

NodePtr ExpressionParser::expression() {
  const DepthGuard guard(depth_);
  NodePtr value = either();
  while (accept("if")) {
    NodePtr condition = either();
    NodePtr result = with_children(node(NodeKind::condition), std::move(value), std::move(condition));
    result->children.push_back(accept("else") ? expression() : nullptr);
    value = std::move(result);
  }
  return value;
}

NodePtr ExpressionParser::expression_or_tuple() {
  NodePtr first = expression();
  if (!next_is(",")) return first;
  NodePtr tuple = with_children(node(NodeKind::tuple), std::move(first));
  while (accept(",")) {
    if (at_end()) break;
    tuple->children.push_back(expression());
  }
  return tuple;
}

NodePtr ExpressionParser::iterable() { return either(); }

NodePtr ExpressionParser::target() {
  const auto one = [&] {
    const bool parenthesis = accept("(");
    NodePtr result = parenthesis ? target() : node(NodeKind::name, name());
    if (parenthesis) expect(")");
    if (!parenthesis && accept(".")) {
      NodePtr attribute = node(NodeKind::attribute, name());
      result = with_children(std::move(attribute), std::move(result));
    }
    return result;
  };
  const DepthGuard guard(depth_);
  NodePtr first = one();
  if (!next_is(",")) return first;
  NodePtr tuple = with_children(node(NodeKind::tuple), std::move(first));
  while (accept(",")) tuple->children.push_back(one());
  return tuple;
}

NodePtr ExpressionParser::either() {
  NodePtr left = both();
  while (accept("or")) {
    NodePtr right = both();
    left = with_children(node(NodeKind::binary, "or"), std::move(left), std::move(right));
  }
  return left;
}

NodePtr ExpressionParser::both() {
  NodePtr left = negation();
  while (accept("and")) {
    NodePtr right = negation();
    left = with_children(node(NodeKind::binary, "and"), std::move(left), std::move(right));
  }
  return left;
}

NodePtr ExpressionParser::negation() {
  const DepthGuard guard(depth_);
  if (accept("not")) return with_children(node(NodeKind::unary, "not"), negation());
  return comparison();
}

// a < b < c means a < b and b < c; such chains are not worth a node kind here and are refused.
NodePtr ExpressionParser::comparison() {
  NodePtr left = binary_level(0);
  bool compared = false;
  for (;;) {
    std::string symbol;
    if (next_is("not") && next_is("in", 1)) {
      symbol = "not in";
      at_ += 2;
    } else {
      for (const std::string_view candidate : {"==", "!=", "<", "<=", ">", ">=", "in"}) {
        if (accept(candidate)) {
          symbol = candidate;
          break;
        }
      }
    }
    if (symbol.empty()) return left;
    if (compared) unsupported("a chain of comparisons in \"" + segment_.text + "\"");
    compared = true;
    NodePtr right = binary_level(0);
    left = with_children(node(NodeKind::binary, symbol), std::move(left), std::move(right));
  }
}

NodePtr ExpressionParser::binary_level(std::size_t level) {
  if (level == std::size(kLevels)) return unary(true);
  NodePtr left = binary_level(level + 1);
  for (;;) {
    std::string symbol;
    for (const std::string_view candidate : kLevels[level].symbols) {
      if (!candidate.empty() && accept(candidate)) {
        symbol = candidate;
        break;
      }
    }
    if (symbol.empty()) return left;
    NodePtr right = binary_level(level + 1);
    left = with_children(node(NodeKind::binary, symbol), std::move(left), std::move(right));
  }
}

NodePtr ExpressionParser::unary(bool with_filters) {
  const DepthGuard guard(depth_);
  NodePtr result;
  if (next_is("-") || next_is("+")) {
    const std::string symbol = segment_.tokens[at_++].text;
    result = with_children(node(NodeKind::unary, symbol), unary(false));
  } else {
    result = primary();
  }
  result = postfix(std::move(result));
  return with_filters ? filters_and_tests(std::move(result)) : std::move(result);
}

NodePtr ExpressionParser::primary() {
  const Token& token = peek();
  NodePtr literal = node(NodeKind::literal);
  if (token.kind == TokenKind::string) {
    std::string text;
    while (peek().kind == TokenKind::string) text += segment_.tokens[at_++].text;  // neighbours are joined
    literal->value = text;
    return literal;
  }
  if (token.kind == TokenKind::integer || token.kind == TokenKind::real) {
    std::int64_t integer = 0;
    double real = 0;
    const char* end = token.text.data() + token.text.size();
    const bool whole = token.kind == TokenKind::integer;
    const auto read =
        whole ? std::from_chars(token.text.data(), end, integer) : std::from_chars(token.text.data(), end, real);
    if (read.ec != std::errc()) syntax_error("a number of 64 bits");
    literal->value = whole ? Value(integer) : Value(real);
    ++at_;
    return literal;
  }
  if (token.kind == TokenKind::name) {
    const std::string text = name();
    if (text == "true" || text == "True")
      literal->value = true;
    else if (text == "false" || text == "False")
      literal->value = false;
    else if (text == "none" || text == "None")
      literal->value = nullptr;
    else
      return node(NodeKind::name, text);
    return literal;
  }
  if (next_is("(")) return parenthesized();
  if (next_is("[") || next_is("{")) return list_or_dict();
  syntax_error("an expression");
}

NodePtr ExpressionParser::parenthesized() {
  expect("(");
  if (accept(")")) return node(NodeKind::tuple);
  NodePtr first = expression();
  if (accept(")")) return first;
  NodePtr tuple = with_children(node(NodeKind::tuple), std::move(first));
  while (accept(",") && !next_is(")")) tuple->children.push_back(expression());
  expect(")");
  return tuple;
}

NodePtr ExpressionParser::list_or_dict() {
  const bool is_list = accept("[");
  if (!is_list) expect("{");
  const std::string_view close = is_list ? "]" : "}";
  NodePtr result = node(is_list ? NodeKind::list : NodeKind::dict);
  while (!next_is(close)) {
    result->children.push_back(expression());
    if (!is_list) {
      expect(":");
      result->children.push_back(expression());
    }
    if (!accept(",")) break;
  }
  expect(close);
  return result;
}

NodePtr ExpressionParser::postfix(NodePtr object) {
  for (;;) {
    if (accept(".")) {
      if (peek().kind == TokenKind::integer) {
        NodePtr index = node(NodeKind::literal);
        index->value = static_cast<std::int64_t>(std::stoi(segment_.tokens[at_++].text.substr(0, 6)));
        object = with_children(node(NodeKind::item), std::move(object), std::move(index));
      } else {
        object = with_children(node(NodeKind::attribute, name()), std::move(object));
      }
    } else if (next_is("[")) {
      object = subscript(std::move(object));
    } else if (next_is("(")) {
      NodePtr call = with_children(node(NodeKind::call), std::move(object));
      arguments(*call);
      object = std::move(call);
    } else {
      return object;
    }
  }
}

NodePtr ExpressionParser::subscript(NodePtr object) {
  expect("[");
  NodePtr parts[3];
  std::size_t count = 0;
  bool is_slice = false;
  for (;;) {
    if (!next_is(":") && !next_is("]")) parts[count] = expression();
    if (!accept(":")) break;
    is_slice = true;
    if (++count == 3) syntax_error("']'");
  }
  expect("]");
  if (!is_slice && !parts[0]) syntax_error("an index");
  NodePtr result = with_children(node(is_slice ? NodeKind::slice : NodeKind::item), std::move(object));
  for (std::size_t i = 0; i < (is_slice ? 3u : 1u); ++i) result->children.push_back(std::move(parts[i]));
  return result;
}

void ExpressionParser::arguments(Node& call) {
  expect("(");
  while (!next_is(")")) {
    if (next_is("*")) unsupported("an argument list with *");
    if (peek().kind == TokenKind::name && next_is("=", 1)) {
      call.names.push_back(name());
      expect("=");
    } else if (!call.names.empty()) {
      syntax_error("a named argument");
    }
    call.children.push_back(expression());
    if (!accept(",")) break;
  }
  expect(")");
}

NodePtr ExpressionParser::filters_and_tests(NodePtr input) {
  for (;;) {
    if (accept("|")) {
      NodePtr filter = node(NodeKind::filter, name());
      filter = with_children(std::move(filter), std::move(input));
      if (next_is("(")) arguments(*filter);
      input = std::move(filter);
    } else if (accept("is")) {
      input = test(std::move(input));
    } else if (next_is("(") || next_is("[") || next_is(".")) {
      input = postfix(std::move(input));
    } else {
      return input;
    }
  }
}

NodePtr ExpressionParser::test(NodePtr input) {
  const bool negated = accept("not");
  NodePtr result = node(NodeKind::test, name());
  result->flag = negated;
  result = with_children(std::move(result), std::move(input));
  const Token& next = peek();
  const bool is_word = next.kind == TokenKind::name;
  const bool ends = is_word && (next.text == "else" || next.text == "or" || next.text == "and" || next.text == "is" ||
                                next.text == "if" || next.text == "not" || next.text == "in");
  if (next_is("(")) {
    arguments(*result);
  } else if ((is_word && !ends) || next.kind == TokenKind::string || next.kind == TokenKind::integer ||
             next.kind == TokenKind::real || next_is("[") || next_is("{")) {
    result->children.push_back(postfix(primary()));
  }
  return result;
}

}  // namespace ingot::runtime::jinja
