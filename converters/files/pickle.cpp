// A stack machine for pickles that builds plain data. The meaning of each operation is that of Python's pickletools.
#include "converters/files/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace ingot::convert {

using Kind = PickleValue::Kind;

class PickleMachine {
 public:
  PickleMachine(ByteReader& reader, PickleRules& rules, Pickle& pickle)
      : reader_(reader), rules_(rules), pickle_(pickle), begin_(reader.position()) {
    for (const auto& [kind, number] : {std::pair{Kind::none, 0}, {Kind::boolean, 0}, {Kind::boolean, 1}})
      pickle_.values_.push_back({.kind = kind, .number = number});
  }

  void run() {
    at_ = reader_.offset();
    if (reader_.read_u8("pickle") != kProto) fail(ErrorKind::unsupported, "no pickle of protocol 2 to 5 begins here");
    const std::uint8_t protocol = reader_.read_u8("pickle protocol");
    if (protocol < 2 || protocol > 5)
      fail(ErrorKind::unsupported, "pickle protocol " + std::to_string(protocol) + ", expected 2 to 5");
    while (!stopped_) {
      at_ = reader_.offset();
      if (reader_.position() - begin_ > kMaxPickleBytes) limit("bytes of a pickle", kMaxPickleBytes);
      const std::uint8_t code = reader_.read_u8("pickle operation");
      const auto row = kOperations[code];
      if (row == nullptr)
        fail(ErrorKind::unsupported, "operation " + std::to_string(code) + " is none that torch.save writes");
      (this->*row)();
    }
  }

 private:
  using Operation = void (PickleMachine::*)();
  static constexpr std::uint8_t kProto = 0x80;
  static constexpr PickleIndex kNone = 0, kFalse = 1, kTrue = 2;
  static constexpr PickleIndex kUnset = std::numeric_limits<PickleIndex>::max();

  // --- messages ---
  [[nodiscard]] std::string place() const {
    return std::string(reader_.where()) + ": pickle at byte " + std::to_string(at_);
  }
  [[noreturn]] void fail(ErrorKind kind, const std::string& what) const {
    throw Error(kind, place() + ": " + what, at_);
  }
  [[noreturn]] void limit(std::string_view what, std::uint64_t most) const {
    fail(ErrorKind::limit_exceeded, "more than " + std::to_string(most) + " " + std::string(what));
  }

  // --- values, stack, memo ---
  PickleValue& value(PickleIndex index) noexcept { return pickle_.values_[index]; }
  void push(PickleIndex index) {
    if (stack_.size() >= kMaxPickleValues) limit("values on the stack", kMaxPickleValues);
    stack_.push_back(index);
  }
  void push(PickleValue made) {
    if (pickle_.values_.size() >= kMaxPickleValues) limit("values", kMaxPickleValues);
    pickle_.values_.push_back(std::move(made));
    push(static_cast<PickleIndex>(pickle_.values_.size() - 1));
  }
  [[nodiscard]] std::size_t floor() const noexcept { return marks_.empty() ? 0 : marks_.back(); }
  [[nodiscard]] PickleIndex top() const {
    if (stack_.size() <= floor()) fail(ErrorKind::invalid_value, "the stack is empty");
    return stack_.back();
  }
  PickleIndex pop() {
    const PickleIndex index = top();
    stack_.pop_back();
    return index;
  }
  void push_container(Kind kind, std::span<const PickleIndex> items) {
    PickleValue made{.kind = kind};
    append_to(made, items);
    push(made);
  }
  /// A container of n items has room for the next power of two.
  void append_to(PickleValue& to, std::span<const PickleIndex> items) {
    std::vector<PickleIndex>& pool = pickle_.items_;
    const std::size_t count = to.item_count + items.size();
    if (items.size() > kMaxPickleItems || count > kMaxPickleItems) limit("items of containers", kMaxPickleItems);
    const std::size_t room = to.item_count == 0 ? 0 : std::bit_ceil(std::size_t{to.item_count});
    if (count > room) {
      const std::size_t wanted = std::bit_ceil(count);
      const bool is_last = room > 0 && to.first_item + room == pool.size();
      const std::size_t first = is_last ? to.first_item : pool.size();
      if (first + wanted > kMaxPickleItems) limit("items of containers", kMaxPickleItems);
      pool.resize(first + wanted);
      if (!is_last)
        std::copy_n(pool.begin() + to.first_item, to.item_count, pool.begin() + static_cast<std::ptrdiff_t>(first));
      to.first_item = static_cast<std::uint32_t>(first);
    }
    std::copy(items.begin(), items.end(), pool.begin() + to.first_item + to.item_count);
    to.item_count = static_cast<std::uint32_t>(count);
  }
  /// Everything above the last mark, in order of pushing; the mark goes too.
  std::vector<PickleIndex> pop_to_mark() {
    if (marks_.empty()) fail(ErrorKind::invalid_value, "no mark on the stack");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleIndex> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void store(std::uint64_t slot) {
    if (slot >= kMaxPickleValues) limit("entries in the memo", kMaxPickleValues);
    const PickleIndex index = top();
    if (slot >= memo_.size()) memo_.resize(slot + 1, kUnset);
    memo_[slot] = index;
  }
  void recall(std::uint64_t slot) {
    if (slot >= memo_.size() || memo_[slot] == kUnset)
      fail(ErrorKind::invalid_value, "memo entry " + std::to_string(slot) + " was never stored");
    push(memo_[slot]);
  }
  PickleValue& container(Kind kind, std::string_view what) {
    PickleValue& found = value(top());
    if (found.kind != kind) fail(ErrorKind::invalid_value, std::string(what) + " onto something else");
    return found;
  }

  // --- scalars ---
  void push_none() { push(kNone); }
  void push_true() { push(kTrue); }
  void push_false() { push(kFalse); }
  void push_integer(std::int64_t number) { push(PickleValue{.kind = Kind::integer, .number = number}); }
  void push_int4() { push_integer(reader_.read_i32("integer")); }
  void push_int1() { push_integer(reader_.read_u8("integer")); }
  void push_int2() { push_integer(reader_.read_u16("integer")); }
  void push_long(std::uint64_t size) {
    const Bytes raw = reader_.take(size, "long integer");
    if (raw.size() > sizeof(std::int64_t)) return push_view(raw, Kind::big_integer);
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < raw.size(); ++i)
      number |= std::uint64_t{std::to_integer<std::uint8_t>(raw[i])} << (8 * i);
    const bool negative = !raw.empty() && (raw.back() & std::byte{0x80}) != std::byte{0};
    if (negative && raw.size() < sizeof number) number |= ~std::uint64_t{0} << (8 * raw.size());
    push_integer(static_cast<std::int64_t>(number));
  }
  void push_long1() { push_long(reader_.read_u8("length")); }
  void push_long4() {
    const std::int32_t size = reader_.read_i32("length");
    if (size < 0) fail(ErrorKind::invalid_value, "a long integer of negative length");
    push_long(static_cast<std::uint64_t>(size));
  }
  void push_real() { push_view(reader_.take(8, "float"), Kind::real); }
  void push_text(std::uint64_t size, Kind kind) { push_view(reader_.take(size, "string"), kind); }
  void push_view(Bytes bytes, Kind kind) {
    if (bytes.size() > kMaxPickleBytes) limit("bytes of a pickle", kMaxPickleBytes);
    const std::string_view text = as_text(bytes);
    push(PickleValue{.kind = kind, .text_bytes = static_cast<std::uint32_t>(text.size()), .text_begin = text.data()});
  }
  void push_text1() { push_text(reader_.read_u8("length"), Kind::text); }
  void push_text4() { push_text(reader_.read_u32("length"), Kind::text); }
  void push_text8() { push_text(reader_.read_u64("length"), Kind::text); }
  void push_bytes1() { push_text(reader_.read_u8("length"), Kind::bytes); }
  void push_bytes4() { push_text(reader_.read_u32("length"), Kind::bytes); }
  void push_bytes8() { push_text(reader_.read_u64("length"), Kind::bytes); }

  // --- containers ---
  void push_list() { push(PickleValue{.kind = Kind::list}); }
  void push_dict() { push(PickleValue{.kind = Kind::dict}); }
  void push_empty_tuple() { push(PickleValue{.kind = Kind::tuple}); }
  template <std::size_t count>
  void push_tuple() {
    std::array<PickleIndex, count> items;
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push_container(Kind::tuple, items);
  }
  void tuple1() { push_tuple<1>(); }
  void tuple2() { push_tuple<2>(); }
  void tuple3() { push_tuple<3>(); }
  void tuple() { push_container(Kind::tuple, pop_to_mark()); }
  void frozen_set() { push_container(Kind::list, pop_to_mark()); }
  void append() {
    const std::array item = {pop()};
    append_to(container(Kind::list, "APPEND"), item);
  }
  void appends() {
    const std::vector<PickleIndex> items = pop_to_mark();
    append_to(container(Kind::list, "APPENDS"), items);
  }
  void set_item() {
    const PickleIndex item = pop(), key = pop();
    append_to(container(Kind::dict, "SETITEM"), std::array{key, item});
  }
  void set_items() {
    const std::vector<PickleIndex> items = pop_to_mark();
    if (items.size() % 2 != 0) fail(ErrorKind::invalid_value, "a key without a value");
    append_to(container(Kind::dict, "SETITEMS"), items);
  }

  // --- stack and memo ---
  void mark() {
    if (marks_.size() >= kMaxPickleValues) limit("marks", kMaxPickleValues);
    marks_.push_back(stack_.size());
  }
  void pop_one() { (void)pop(); }
  void pop_mark() { (void)pop_to_mark(); }
  void duplicate() { push(top()); }
  void put1() { store(reader_.read_u8("memo index")); }
  void put4() { store(reader_.read_u32("memo index")); }
  void memoize() { store(stored_++); }
  void get1() { recall(reader_.read_u8("memo index")); }
  void get4() { recall(reader_.read_u32("memo index")); }
  void frame() {
    const std::uint64_t size = reader_.read_u64("frame length");
    if (size > reader_.remaining())
      throw Error(ErrorKind::truncated,
                  place() + ": a frame of " + std::to_string(size) + " bytes, the file has " +
                      std::to_string(reader_.remaining()) + " more",
                  at_);
  }
  void stop() {
    if (!marks_.empty() || stack_.size() != 1)
      fail(ErrorKind::invalid_value, "ends with " + std::to_string(stack_.size()) + " values on the stack, expected 1");
    pickle_.root_ = pop();
    stopped_ = true;
  }

  // --- what would execute something ---
  std::string_view line(std::string_view what) {
    constexpr std::uint64_t kLongest = 1024;
    ByteReader ahead = reader_;
    std::uint64_t length = 0;
    while (ahead.read_u8(what) != '\n')
      if (++length > kLongest) limit("bytes in the name of a global", kLongest);
    const std::string_view text = as_text(reader_.take(length, what));
    reader_.skip(1, what);
    return text;
  }
  void push_global(std::string_view module, std::string_view name) {
    const std::int64_t number = rules_.global(module, name);
    if (number < 0) {
      const bool own_class = name == "_rebuild_wrapper_subclass";
      fail(ErrorKind::unsupported,
           "refers to " + printable(module) + "." + printable(name) +
               (own_class ? ", which makes tensors of a class of their own (torchao's are read from safetensors)"
                          : ", which is not a tensor") +
               "; nothing was executed");
    }
    push(PickleValue{.kind = Kind::global, .number = number});
  }
  void global() {
    const std::string_view module = line("global"), name = line("global");
    push_global(module, name);
  }
  void stack_global() {
    const PickleIndex name = pop(), module = pop();
    if (value(name).kind != Kind::text || value(module).kind != Kind::text)
      fail(ErrorKind::invalid_value, "a global that is not named by strings");
    push_global(value(module).text(), value(name).text());
  }
  void call() {
    const PickleIndex arguments = pop(), function = pop();
    if (value(function).kind != Kind::global || value(arguments).kind != Kind::tuple)
      fail(ErrorKind::invalid_value, "calls something that is no function; nothing was executed");
    push(rules_.call(pickle_, value(function).number, pickle_.items(value(arguments)), place()));
  }
  /// Attributes (_metadata of a state dict) are no values of tensors.
  void build() {
    (void)pop();
    if (const Kind kind = value(top()).kind; kind != Kind::dict && kind != Kind::object)
      fail(ErrorKind::unsupported, "sets the state of something that is neither a dictionary nor a tensor");
  }
  void persistent() {
    const PickleIndex id = pop();
    push(rules_.persistent(pickle_, value(id), place()));
  }

  [[nodiscard]] static std::string printable(std::string_view text) {
    constexpr std::size_t kLongest = 200;
    std::string result(text.substr(0, kLongest));
    for (char& c : result)
      if (c < ' ' || c > '~') c = '?';
    return result;
  }

  static constexpr std::array<Operation, 256> operations() {
    using M = PickleMachine;
    std::array<Operation, 256> rows{};
    const auto set = [&rows](unsigned code, Operation row) { rows[code] = row; };
    set('(', &M::mark), set('.', &M::stop), set('0', &M::pop_one), set('1', &M::pop_mark), set('2', &M::duplicate);
    set('J', &M::push_int4), set('K', &M::push_int1), set('M', &M::push_int2), set('G', &M::push_real);
    set(0x8a, &M::push_long1), set(0x8b, &M::push_long4);
    set('N', &M::push_none), set(0x88, &M::push_true), set(0x89, &M::push_false);
    set('X', &M::push_text4), set(0x8c, &M::push_text1), set(0x8d, &M::push_text8);
    set('T', &M::push_text4), set('U', &M::push_text1);  // str of Python 2
    set('B', &M::push_bytes4), set('C', &M::push_bytes1), set(0x8e, &M::push_bytes8), set(0x96, &M::push_bytes8);
    set(')', &M::push_empty_tuple), set('t', &M::tuple), set(0x85, &M::tuple1), set(0x86, &M::tuple2);
    set(0x87, &M::tuple3), set(']', &M::push_list), set('a', &M::append), set('e', &M::appends);
    set('}', &M::push_dict), set('s', &M::set_item), set('u', &M::set_items);
    set(0x8f, &M::push_list), set(0x90, &M::appends), set(0x91, &M::frozen_set);  // sets
    set('q', &M::put1), set('r', &M::put4), set('h', &M::get1), set('j', &M::get4);
    set(0x94, &M::memoize), set(0x95, &M::frame);
    set('c', &M::global), set(0x93, &M::stack_global), set('R', &M::call), set(0x81, &M::call);
    set('b', &M::build), set('Q', &M::persistent);
    return rows;
  }
  static const std::array<Operation, 256> kOperations;

  ByteReader& reader_;
  PickleRules& rules_;
  Pickle& pickle_;
  std::uint64_t begin_;       // position of the first byte
  std::uint64_t at_ = 0;      // offset of the operation under way
  std::uint64_t stored_ = 0;  // entries that MEMOIZE stored
  std::vector<PickleIndex> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack
  std::vector<PickleIndex> memo_;
  bool stopped_ = false;
};

constexpr std::array<PickleMachine::Operation, 256> PickleMachine::kOperations = PickleMachine::operations();

Pickle::Pickle(ByteReader& reader, PickleRules& rules) { PickleMachine(reader, rules, *this).run(); }

}  // namespace ingot::convert
