// Scopes as in jinja2: a loop body and a macro have their own, if has none; namespace() carries values out of loops.
#include "runtime/jinja/interpreter.h"

#include <algorithm>
#include <cmath>

#include "format/base/error.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime::jinja {
namespace {

enum class Flow : std::uint8_t { next, break_loop, continue_loop };

class Interpreter {
 public:
  Interpreter(const Names& globals, const Limits& limits) : limits_(limits) {
    scopes_.push_back(builtin_functions());
    scopes_.push_back(globals);
    scopes_.emplace_back();
  }

  std::string run(const Node& root) {
    (void)execute(root);
    return std::move(output_);
  }

 private:
  class Guard {
   public:
    explicit Guard(Interpreter& owner) : owner_(owner) {
      if (++owner_.steps_ > owner_.limits_.steps)
        throw Error(ErrorKind::limit_exceeded, "chat template: too much work");
      if (++owner_.depth_ > owner_.limits_.depth)
        throw Error(ErrorKind::limit_exceeded, "chat template: calls nest too deep");
    }
    ~Guard() { --owner_.depth_; }

   private:
    Interpreter& owner_;
  };

  void print(std::string_view text) {
    if (output_.size() + text.size() > limits_.output_bytes)
      throw Error(ErrorKind::limit_exceeded, "chat template: the output is too long");
    output_ += text;
  }

  // --- variables -----------------------------------------------------------------------------------------------------
  Value lookup(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      for (const auto& [key, value] : *scope) {
        if (key == name) return value;
      }
    }
    return Value::Undefined{name};
  }

  void define(const std::string& name, Value value) {
    for (auto& [key, old] : scopes_.back()) {
      if (key == name) {
        old = std::move(value);
        return;
      }
    }
    scopes_.back().emplace_back(name, std::move(value));
  }

  void assign(const Node& target, const Value& value) {
    if (target.kind == NodeKind::name) {
      define(target.text, value);
    } else if (target.kind == NodeKind::attribute) {
      const Value object = evaluate(*target.children[0]);
      if (!object.is_dict())
        fail("line " + std::to_string(target.line) + ": only attributes of a namespace can be set");
      object.set_member(target.text, value);
    } else {
      const List items = items_of(value);
      if (items.size() != target.children.size()) {
        fail("line " + std::to_string(target.line) + ": expected " + std::to_string(target.children.size()) +
             " values to unpack, got " + std::to_string(items.size()));
      }
      for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i]);
    }
  }

  // --- statements ----------------------------------------------------------------------------------------------------
  Flow execute(const Node& node) {
    const Guard guard(*this);
    switch (node.kind) {
      case NodeKind::text: print(node.text); return Flow::next;
      case NodeKind::output: print(evaluate(*node.children[0]).text()); return Flow::next;
      case NodeKind::block:
        for (const NodePtr& child : node.children) {
          if (const Flow flow = execute(*child); flow != Flow::next) return flow;
        }
        return Flow::next;
      case NodeKind::if_else:
        if (evaluate(*node.children[0]).truthy()) return execute(*node.children[1]);
        return node.children[2] ? execute(*node.children[2]) : Flow::next;
      case NodeKind::for_loop: run_loop(node); return Flow::next;
      case NodeKind::set: assign(*node.children[0], evaluate(*node.children[1])); return Flow::next;
      case NodeKind::set_block: assign(*node.children[0], captured(*node.children[1])); return Flow::next;
      case NodeKind::macro: define_macro(node); return Flow::next;
      case NodeKind::break_loop: return Flow::break_loop;
      case NodeKind::continue_loop: return Flow::continue_loop;
      default: (void)evaluate(node); return Flow::next;
    }
  }

  Value captured(const Node& body) {
    std::string outer = std::move(output_);
    output_.clear();
    (void)execute(body);
    std::string inner = std::move(output_);
    output_ = std::move(outer);
    return inner;
  }

  void run_loop(const Node& node) {
    const Node& target = *node.children[0];
    List items = items_of(evaluate(*node.children[1]));
    scopes_.emplace_back();
    if (const Node* filter = node.children[2].get()) {
      List kept;
      for (const Value& item : items) {
        assign(target, item);
        if (evaluate(*filter).truthy()) kept.push_back(item);
      }
      items = std::move(kept);
    }
    scopes_.pop_back();
    if (items.empty() && node.children[4]) (void)execute(*node.children[4]);
    for (std::size_t i = 0; i < items.size(); ++i) {
      scopes_.emplace_back();
      assign(target, items[i]);
      define("loop", loop_variables(items, i));
      const Flow flow = execute(*node.children[3]);
      scopes_.pop_back();
      if (flow == Flow::break_loop) break;
    }
  }

  static Value loop_variables(const List& items, std::size_t i) {
    const auto index = static_cast<std::int64_t>(i), length = static_cast<std::int64_t>(items.size());
    Dict loop = {{"index", index + 1},
                 {"index0", index},
                 {"first", index == 0},
                 {"last", index + 1 == length},
                 {"length", length},
                 {"revindex", length - index},
                 {"revindex0", length - index - 1}};
    loop.emplace_back("previtem", i > 0 ? items[i - 1] : Value(Value::Undefined{"loop.previtem"}));
    loop.emplace_back("nextitem", i + 1 < items.size() ? items[i + 1] : Value(Value::Undefined{"loop.nextitem"}));
    return loop;
  }

  void define_macro(const Node& node) {
    const Node* macro = &node;  // the tree outlives the run
    define(node.text, Function([this, macro](const Arguments& arguments) { return call_macro(*macro, arguments); }));
  }

  Value call_macro(const Node& macro, const Arguments& arguments) {
    if (arguments.positional.size() > macro.names.size())
      fail("macro " + macro.text + " takes " + std::to_string(macro.names.size()) + " arguments");
    const std::size_t defaults = macro.children.size() - 1;
    Names scope;
    for (std::size_t i = 0; i < macro.names.size(); ++i) {
      Value otherwise = Value::Undefined{macro.names[i]};
      if (i + defaults >= macro.names.size()) otherwise = evaluate(*macro.children[i + defaults - macro.names.size()]);
      scope.emplace_back(macro.names[i], arguments.get(i, macro.names[i], std::move(otherwise)));
    }
    scopes_.push_back(std::move(scope));
    Value result = captured(*macro.children.back());
    scopes_.pop_back();
    return result;
  }

  // --- expressions ---------------------------------------------------------------------------------------------------
  Value evaluate(const Node& node) {
    Value result = computed(node);
    if (result.is_string()) built_ += result.string().size();
    if (result.is_list())
      built_ += result.list().size() * (node.kind == NodeKind::name ? 0 : sizeof(Value));  // a name only refers to it
    if (built_ > limits_.built_bytes) throw Error(ErrorKind::limit_exceeded, "chat template: its values are too large");
    return result;
  }

  Value computed(const Node& node) {
    const Guard guard(*this);
    switch (node.kind) {
      case NodeKind::literal: return node.value;
      case NodeKind::name: return lookup(node.text);
      case NodeKind::list:
      case NodeKind::tuple: return make_list(node);
      case NodeKind::dict: return make_dict(node);
      case NodeKind::attribute: return attribute(evaluate(*node.children[0]), node.text);
      case NodeKind::item: return item(evaluate(*node.children[0]), evaluate(*node.children[1]));
      case NodeKind::slice: return slice(node);
      case NodeKind::call: return call(node);
      case NodeKind::filter: return apply_filter(node);
      case NodeKind::test: return apply_test(node);
      case NodeKind::unary: return unary(node);
      case NodeKind::binary: return binary(node);
      case NodeKind::condition:
        if (evaluate(*node.children[1]).truthy()) return evaluate(*node.children[0]);
        return node.children[2] ? evaluate(*node.children[2]) : Value();
      default: fail("a statement where an expression should be");
    }
  }

  Value make_list(const Node& node) {
    List items;
    for (const NodePtr& child : node.children) items.push_back(evaluate(*child));
    return items;
  }

  Value make_dict(const Node& node) {
    const Value result = Dict();
    for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const Value key = evaluate(*node.children[i]);
      if (!key.is_string() && !key.is_number() && !key.is_none())
        unsupported("a dict key of type " + std::string(key.type_name()));
      result.set_member(key, evaluate(*node.children[i + 1]));
    }
    return result;
  }

  static Value attribute(const Value& object, const std::string& name) {
    if (object.is_undefined()) fail("'" + object.undefined_name() + "' is undefined (asked for its '" + name + "')");
    if (const Value* member = object.member(name)) return *member;
    if (const Builtin method = find_method(object, name)) {
      return Function([object, method](const Arguments& arguments) {
        Arguments all = arguments;
        all.positional.insert(all.positional.begin(), object);
        return method(all);
      });
    }
    return Value::Undefined{name};
  }

  static Value item(const Value& object, const Value& key) {
    if (object.is_undefined()) fail("'" + object.undefined_name() + "' is undefined (asked for an item)");
    if (key.is_string()) return attribute(object, key.string());
    if (const Value* member = object.member_at(key)) return *member;
    if (!key.is_integer() || !(object.is_list() || object.is_string())) return Value::Undefined{key.text()};
    const List items = items_of(object);
    const auto size = static_cast<std::int64_t>(items.size());
    const std::int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
    return at >= 0 && at < size ? items[static_cast<std::size_t>(at)] : Value(Value::Undefined{"item " + key.text()});
  }

  Value slice(const Node& node) {
    const Value object = evaluate(*node.children[0]);
    if (!object.is_list() && !object.is_string()) fail("cannot slice " + std::string(object.type_name()));
    const List items = items_of(object);
    const auto size = static_cast<std::int64_t>(items.size());
    const auto bound = [&](std::size_t i, std::int64_t otherwise, std::int64_t low, std::int64_t high) {
      const Value value = node.children[i] ? evaluate(*node.children[i]) : Value(nullptr);
      if (value.is_none()) return otherwise;
      if (!value.is_integer()) fail("a slice bound of type " + std::string(value.type_name()));
      const std::int64_t at = value.integer();
      return std::clamp(at < 0 ? at + size : at, low, high);
    };
    const Value step_value = node.children[3] ? evaluate(*node.children[3]) : Value(nullptr);
    const std::int64_t step = step_value.is_integer() ? step_value.integer() : 1;
    if (step == 0 || step < -size - 1 || step > size + 1)
      return step == 0 ? (fail("a slice step of 0"), Value()) : Value(List());
    const bool forward = step > 0;
    const std::int64_t start = bound(1, forward ? 0 : size - 1, forward ? 0 : -1, forward ? size : size - 1);
    const std::int64_t stop = bound(2, forward ? size : -1, forward ? 0 : -1, forward ? size : size - 1);
    List picked;
    for (std::int64_t at = start; forward ? at < stop : at > stop; at += step)
      picked.push_back(items[static_cast<std::size_t>(at)]);
    if (object.is_list()) return picked;
    std::string text;
    for (const Value& character : picked) text += character.string();
    return text;
  }

  // Children from `first` on; the last names.size() of them are named.
  Arguments arguments_of(const Node& node, std::size_t first) {
    Arguments arguments;
    const std::size_t named_from = node.children.size() - node.names.size();
    for (std::size_t i = first; i < node.children.size(); ++i) {
      Value value = evaluate(*node.children[i]);
      if (i < named_from)
        arguments.positional.push_back(std::move(value));
      else
        arguments.named.emplace_back(node.names[i - named_from], std::move(value));
    }
    return arguments;
  }

  Value call(const Node& node) {
    const Value callee = evaluate(*node.children[0]);
    if (!callee.is_function()) {
      const Node& named = *node.children[0];
      unsupported("calling " + (named.text.empty() ? std::string(callee.type_name()) : "'" + named.text + "'"));
    }
    return callee.function()(arguments_of(node, 1));
  }

  Value apply_filter(const Node& node) {
    if (node.text == "default" || node.text == "d") return default_filter(node);
    if (node.text == "map" || node.text == "selectattr" || node.text == "rejectattr" || node.text == "select" ||
        node.text == "reject") {
      return sequence_filter(node);
    }
    const Builtin filter = find_filter(node.text);
    if (filter == nullptr) unsupported("the filter '" + node.text + "'");
    return filter(arguments_of(node, 0));
  }

  Value default_filter(const Node& node) {
    const Arguments arguments = arguments_of(node, 0);
    const Value& input = arguments.positional[0];
    const bool also_false = arguments.get(2, "boolean", Value(false)).truthy();
    return input.is_undefined() || (also_false && !input.truthy()) ? arguments.get(1, "default_value", Value(""))
                                                                   : input;
  }

  static bool passes(const std::string& name, const Value& value, const List& rest) {
    const Builtin test = find_test(name);
    if (test == nullptr) unsupported("the test '" + name + "'");
    Arguments arguments;
    arguments.positional.push_back(value);
    arguments.positional.insert(arguments.positional.end(), rest.begin(), rest.end());
    return test(arguments).truthy();
  }

  // map(attribute=...), map("filter"), selectattr("name", "test", ...), select("test", ...) and their opposites.
  Value sequence_filter(const Node& node) {
    const Arguments arguments = arguments_of(node, 0);
    const bool by_attribute = node.text == "selectattr" || node.text == "rejectattr",
               inverted = node.text.starts_with("reject");
    const std::size_t test_at = by_attribute ? 2 : 1;
    const Value wanted = arguments.get(test_at, "");
    const List rest =
        arguments.positional.size() > test_at + 1
            ? List(arguments.positional.begin() + static_cast<std::ptrdiff_t>(test_at) + 1, arguments.positional.end())
            : List();
    const Value name = arguments.get(1, "attribute");
    List result;
    if (!arguments.positional[0].truthy())
      return result;  // jinja2 asks so before it iterates: None is an empty sequence here
    for (const Value& value : items_of(arguments.positional[0])) {
      if (node.text == "map") {
        result.push_back(mapped(value, arguments, name));
        continue;
      }
      const Value subject = by_attribute ? item(value, name) : value;
      const bool passed = wanted.is_string() ? passes(wanted.string(), subject, rest) : subject.truthy();
      if (passed != inverted) result.push_back(value);
    }
    return result;
  }

  static Value mapped(const Value& value, const Arguments& arguments, const Value& name) {
    if (arguments.positional.size() < 2) {
      const Value found = item(value, name);
      return found.is_undefined() ? arguments.get(99, "default", found) : found;
    }
    const Builtin filter = find_filter(arguments.positional[1].text());
    if (filter == nullptr) unsupported("the filter '" + arguments.positional[1].text() + "'");
    Arguments inner;
    inner.positional.push_back(value);
    inner.positional.insert(inner.positional.end(), arguments.positional.begin() + 2, arguments.positional.end());
    return filter(inner);
  }

  Value apply_test(const Node& node) {
    const Arguments arguments = arguments_of(node, 0);
    const List rest(arguments.positional.begin() + 1, arguments.positional.end());
    return passes(node.text, arguments.positional[0], rest) != node.flag;
  }

  Value unary(const Node& node) {
    const Value operand = evaluate(*node.children[0]);
    if (node.text == "not") return !operand.truthy();
    if (!operand.is_number()) fail("'" + node.text + "' of " + std::string(operand.type_name()));
    if (node.text == "+") return operand;
    if (operand.is_integer()) return static_cast<std::int64_t>(-static_cast<std::uint64_t>(operand.integer()));
    return -operand.number();
  }

  Value binary(const Node& node) {
    const std::string& symbol = node.text;
    const Value left = evaluate(*node.children[0]);
    if (symbol == "and") return left.truthy() ? evaluate(*node.children[1]) : left;
    if (symbol == "or") return left.truthy() ? left : evaluate(*node.children[1]);
    const Value right = evaluate(*node.children[1]);
    if (symbol == "==") return equal(left, right);
    if (symbol == "!=") return !equal(left, right);
    if (symbol == "in") return contains(right, left);
    if (symbol == "not in") return !contains(right, left);
    if (symbol == "<") return compare(left, right) < 0;
    if (symbol == "<=") return compare(left, right) <= 0;
    if (symbol == ">") return compare(left, right) > 0;
    if (symbol == ">=") return compare(left, right) >= 0;
    if (symbol == "~") return concatenated(left.text(), right.text());
    return arithmetic(symbol, left, right);
  }

  static Value concatenated(const std::string& left, const std::string& right) {
    check_size(left.size() + right.size());
    return left + right;
  }

  static Value repeated(const std::string& text, std::int64_t count) {
    std::string out;
    if (text.empty()) return out;
    for (std::int64_t i = 0; i < count; ++i) {
      out += text;
      check_size(out.size());
    }
    return out;
  }

  static Value arithmetic(const std::string& symbol, const Value& left, const Value& right) {
    if (symbol == "+" && left.is_string() && right.is_string()) return concatenated(left.string(), right.string());
    if (symbol == "*" && left.is_string() && right.is_integer()) return repeated(left.string(), right.integer());
    if (symbol == "*" && left.is_integer() && right.is_string()) return repeated(right.string(), left.integer());
    if (symbol == "+" && left.is_list() && right.is_list()) {
      check_size((left.list().size() + right.list().size()) * sizeof(Value));
      List joined = left.list();
      joined.insert(joined.end(), right.list().begin(), right.list().end());
      return joined;
    }
    if (!left.is_number() || !right.is_number()) {
      const auto named = [](const Value& v) {
        return v.is_undefined() ? "undefined '" + v.undefined_name() + "'" : std::string(v.type_name());
      };
      fail("cannot compute " + named(left) + " " + symbol + " " + named(right));
    }
    const bool divides = symbol == "/" || symbol == "//" || symbol == "%";
    if (divides && right.number() == 0) fail("division by zero");
    if (left.is_integer() && right.is_integer() && symbol != "/")
      return integer_arithmetic(symbol, left.integer(), right.integer());
    const double a = left.number(), b = right.number();
    if (symbol == "+") return a + b;
    if (symbol == "-") return a - b;
    if (symbol == "*") return a * b;
    if (symbol == "/") return a / b;
    return symbol == "//" ? std::floor(a / b) : a - b * std::floor(a / b);
  }

  // Wraps at 64 bits where Python would go on; division rounds down.
  static Value integer_arithmetic(const std::string& symbol, std::int64_t a, std::int64_t b) {
    const auto x = static_cast<std::uint64_t>(a), y = static_cast<std::uint64_t>(b);
    if (symbol == "+") return static_cast<std::int64_t>(x + y);
    if (symbol == "-") return static_cast<std::int64_t>(x - y);
    if (symbol == "*") return static_cast<std::int64_t>(x * y);
    if (b == -1) return symbol == "%" ? std::int64_t{0} : static_cast<std::int64_t>(-x);
    const std::int64_t remainder = a % b, quotient = a / b;
    const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
    if (symbol == "//") return adjust ? quotient - 1 : quotient;
    return adjust ? remainder + b : remainder;
  }

  const Limits limits_;
  std::vector<Names> scopes_;  // builtins, globals, template, then loops and macros
  std::string output_;
  std::uint64_t steps_ = 0, built_ = 0;
  std::uint32_t depth_ = 0;
};

}  // namespace

std::string render(const Node& root, const Names& globals, const Limits& limits) {
  return Interpreter(globals, limits).run(root);
}

}  // namespace ingot::runtime::jinja
