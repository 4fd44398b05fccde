// Values of the template language: Python's None, bool, int, float, str, list, dict, and jinja2's Undefined.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ingot::runtime::jinja {

class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;         // insertion order; keys are strings, numbers, bool or None
using Names = std::vector<std::pair<std::string, Value>>;  // variables of a scope, named arguments
struct Arguments;
using Function = std::function<Value(const Arguments&)>;

/// Lists and dicts are shared by reference, as in Python; everything else is a value.
class Value {
 public:
  struct Undefined {
    std::string name;  // for messages
  };

  Value() : data_(Undefined{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(std::nullptr_t) : data_(nullptr) {}
  Value(bool value) : data_(value) {}
  Value(std::int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(List items) : data_(std::make_shared<List>(std::move(items))) {}
  Value(Dict members) : data_(std::make_shared<Dict>(std::move(members))) {}
  Value(Function function) : data_(std::make_shared<Function>(std::move(function))) {}

  template <class T>
  [[nodiscard]] bool is() const noexcept {
    return std::holds_alternative<T>(data_);
  }
  [[nodiscard]] bool is_undefined() const noexcept { return is<Undefined>(); }
  [[nodiscard]] bool is_none() const noexcept { return is<std::nullptr_t>(); }
  [[nodiscard]] bool is_string() const noexcept { return is<std::string>(); }
  [[nodiscard]] bool is_list() const noexcept { return is<std::shared_ptr<List>>(); }
  [[nodiscard]] bool is_dict() const noexcept { return is<std::shared_ptr<Dict>>(); }
  [[nodiscard]] bool is_function() const noexcept { return is<std::shared_ptr<Function>>(); }
  [[nodiscard]] bool is_integer() const noexcept {
    return is<std::int64_t>() || is<bool>();
  }  // bool counts, as in Python
  [[nodiscard]] bool is_number() const noexcept { return is_integer() || is<double>(); }

  // Preconditions: the matching is_...().
  [[nodiscard]] const std::string& string() const { return std::get<std::string>(data_); }
  [[nodiscard]] List& list() const { return *std::get<std::shared_ptr<List>>(data_); }
  [[nodiscard]] Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(data_); }
  [[nodiscard]] const Function& function() const { return *std::get<std::shared_ptr<Function>>(data_); }
  [[nodiscard]] std::int64_t integer() const {
    return is<bool>() ? std::get<bool>(data_) : std::get<std::int64_t>(data_);
  }
  [[nodiscard]] double number() const {
    return is<double>() ? std::get<double>(data_) : static_cast<double>(integer());
  }
  [[nodiscard]] const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }

  [[nodiscard]] bool truthy() const noexcept;
  /// What `{{ value }}` prints: str() of Python; Undefined prints nothing.
  [[nodiscard]] std::string text() const;
  /// repr() of Python.
  [[nodiscard]] std::string repr() const;
  [[nodiscard]] std::string_view type_name() const noexcept;  // "str", "int", ...

  /// Member of a dict; null when absent. A key is found as in Python: 1, 1.0 and True are the same.
  [[nodiscard]] const Value* member(std::string_view name) const noexcept;
  [[nodiscard]] const Value* member_at(const Value& key) const;
  void set_member(const Value& key, Value value) const;  // precondition: is_dict()

 private:
  std::variant<Undefined, std::nullptr_t, bool, std::int64_t, double, std::string, std::shared_ptr<List>,
               std::shared_ptr<Dict>, std::shared_ptr<Function>>
      data_;
};

/// Arguments of a call, filter or test.
struct Arguments {
  List positional;
  Names named;
  /// The argument at `index` or of that name; `otherwise` when absent.
  [[nodiscard]] Value get(std::size_t index, std::string_view name, Value otherwise = {}) const;
};

[[nodiscard]] bool equal(const Value& a, const Value& b);
/// -1, 0, 1; throws for values that have no order.
[[nodiscard]] int compare(const Value& a, const Value& b);
/// `item in container`; throws for values that hold nothing.
[[nodiscard]] bool contains(const Value& container, const Value& item);
/// The items a for loop sees: list items, dict keys, characters of a string; throws for others.
[[nodiscard]] List items_of(const Value& value);
/// json.dumps with ensure_ascii=False.
[[nodiscard]] std::string to_json_text(const Value& value, std::int64_t indent);

/// Throws limit_exceeded when a string of `bytes`, or a list of `bytes / sizeof(Value)` items, is more than a template
/// may build.
void check_size(std::uint64_t bytes);

/// Throws Error of kind invalid_value: "chat template: <message>".
[[noreturn]] void fail(const std::string& message);
/// Throws Error of kind unsupported: "chat template: <construct> is not supported".
[[noreturn]] void unsupported(const std::string& construct);

}  // namespace ingot::runtime::jinja
