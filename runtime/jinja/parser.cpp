// Statements: if, for, set, macro, break, continue, and transformers' `generation` (which only marks its body).
#include <algorithm>
#include <initializer_list>

#include "runtime/jinja/syntax.h"

namespace ingot::runtime::jinja {
namespace {

constexpr std::uint32_t kMaxNesting = 50;

NodePtr make(NodeKind kind, std::uint32_t line) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  node->line = line;
  return node;
}

class TemplateParser {
 public:
  explicit TemplateParser(std::string_view source) : segments_(split_template(source)) {}

  NodePtr parse() {
    NodePtr root = block({});
    if (at_ < segments_.size())
      fail("line " + std::to_string(segments_[at_].line) + ": \"" + keyword() + "\" closes nothing");
    return root;
  }

 private:
  // First word of the statement at at_.
  std::string keyword() const {
    const Segment& segment = segments_[at_];
    return segment.kind == Segment::Kind::statement && segment.tokens[0].kind == TokenKind::name
               ? segment.tokens[0].text
               : std::string();
  }

  // Statements up to one whose keyword is in `ends` (not consumed) or the end of the template.
  NodePtr block(std::initializer_list<std::string_view> ends) {
    if (++nesting_ > kMaxNesting) fail("statements nest deeper than " + std::to_string(kMaxNesting));
    NodePtr result = make(NodeKind::block, 0);
    for (; at_ < segments_.size();) {
      const Segment& segment = segments_[at_];
      if (segment.kind == Segment::Kind::text) {
        NodePtr text = make(NodeKind::text, segment.line);
        text->text = segment.text;
        result->children.push_back(std::move(text));
        ++at_;
      } else if (segment.kind == Segment::Kind::expression) {
        ExpressionParser parser(segment);
        NodePtr output = make(NodeKind::output, segment.line);
        output->children.push_back(parser.expression_or_tuple());
        parser.finish();
        result->children.push_back(std::move(output));
        ++at_;
      } else {
        const std::string word = keyword();
        const bool closing = word.starts_with("end") || word == "else" || word == "elif";
        if (std::find(ends.begin(), ends.end(), word) != ends.end() || closing) break;
        result->children.push_back(statement(word));
      }
    }
    --nesting_;
    return result;
  }

  void close(std::string_view word, const Segment& opened) {
    if (at_ >= segments_.size() || keyword() != word) {
      const std::string got = at_ < segments_.size() ? "\"" + keyword() + "\"" : "the end of the template";
      fail("line " + std::to_string(opened.line) + ": \"" + opened.text + "\": expected \"" + std::string(word) +
           "\", got " + got);
    }
    ++at_;
  }

  NodePtr statement(const std::string& word) {
    const Segment& segment = segments_[at_++];
    ExpressionParser parser(segment);
    if (parser.at_end()) parser.syntax_error("a statement");
    (void)parser.accept(word);
    if (word == "if") return if_statement(parser, segment);
    if (word == "for") return for_statement(parser, segment);
    if (word == "set") return set_statement(parser, segment);
    if (word == "macro") return macro_statement(parser, segment);
    if (word == "break" || word == "continue") {
      parser.finish();
      return make(word == "break" ? NodeKind::break_loop : NodeKind::continue_loop, segment.line);
    }
    if (word == "generation") {
      parser.finish();
      NodePtr body = block({"endgeneration"});
      close("endgeneration", segment);
      return body;
    }
    unsupported("the statement \"" + segment.text + "\" in line " + std::to_string(segment.line));
  }

  NodePtr if_statement(ExpressionParser& parser, const Segment& segment) {
    NodePtr result = make(NodeKind::if_else, segment.line);
    result->children.push_back(parser.expression_or_tuple());
    parser.finish();
    result->children.push_back(block({"elif", "else", "endif"}));
    if (at_ < segments_.size() && keyword() == "elif") {
      const Segment& next = segments_[at_++];
      ExpressionParser next_parser(next);
      next_parser.expect("elif");
      if (++nesting_ > kMaxNesting * 4) fail("too many elif");
      result->children.push_back(if_statement(next_parser, next));
      --nesting_;
      return result;  // the inner statement took the endif
    }
    if (at_ < segments_.size() && keyword() == "else") {
      ++at_;
      result->children.push_back(block({"endif"}));
    } else {
      result->children.push_back(nullptr);
    }
    close("endif", segment);
    return result;
  }

  NodePtr for_statement(ExpressionParser& parser, const Segment& segment) {
    NodePtr result = make(NodeKind::for_loop, segment.line);
    result->children.push_back(parser.target());
    parser.expect("in");
    result->children.push_back(parser.iterable());
    result->children.push_back(parser.accept("if") ? parser.expression() : nullptr);
    if (parser.accept("recursive")) unsupported("a recursive loop");
    parser.finish();
    result->children.push_back(block({"else", "endfor"}));
    const bool otherwise = at_ < segments_.size() && keyword() == "else";
    if (otherwise) ++at_;
    result->children.push_back(otherwise ? block({"endfor"}) : nullptr);
    close("endfor", segment);
    return result;
  }

  NodePtr set_statement(ExpressionParser& parser, const Segment& segment) {
    NodePtr target = parser.target();
    const bool assigns = parser.accept("=");
    NodePtr result = make(assigns ? NodeKind::set : NodeKind::set_block, segment.line);
    result->children.push_back(std::move(target));
    if (assigns) {
      result->children.push_back(parser.expression_or_tuple());
      parser.finish();
      return result;
    }
    parser.finish();
    result->children.push_back(block({"endset"}));
    close("endset", segment);
    return result;
  }

  NodePtr macro_statement(ExpressionParser& parser, const Segment& segment) {
    NodePtr result = make(NodeKind::macro, segment.line);
    result->text = parser.name();
    parser.expect("(");
    while (!parser.accept(")")) {
      result->names.push_back(parser.name());
      if (parser.accept("=")) {
        result->children.push_back(parser.expression());
      } else if (!result->children.empty()) {
        parser.syntax_error("a default value");
      }
      if (!parser.accept(",")) {
        parser.expect(")");
        break;
      }
    }
    parser.finish();
    result->children.push_back(block({"endmacro"}));
    close("endmacro", segment);
    return result;
  }

  std::vector<Segment> segments_;
  std::size_t at_ = 0;
  std::uint32_t nesting_ = 0;
};

}  // namespace

NodePtr parse_template(std::string_view source) { return TemplateParser(source).parse(); }

}  // namespace ingot::runtime::jinja
