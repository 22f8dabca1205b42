#include "nn/io/torch_pickle.hpp"

#include <iomanip>
#include <sstream>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "backends/error.hpp"
#include "nn/io/torch_pickle_bytes.hpp"

namespace osteon::io {
namespace {

class Machine : PickleBytes {
 public:
  using PickleBytes::PickleBytes;

  std::vector<TorchTensor> run() {
    while (!stopped_)
      step(take_opcode());
    expect_end();
    const Value top = pop(Kind::dict);
    std::vector<TorchTensor> found;
    std::unordered_set<std::string_view> names;
    for (const auto& [key, value] : dicts_[place(top)]) {
      expect(key.kind == Kind::text, "expected names of tensors as keys, found ", name_of_kind(key));
      const std::string_view name = texts_[place(key)];
      expect(value.kind == Kind::tensor, std::string(name), ": expected a tensor, found ", name_of_kind(value));
      expect(names.insert(name).second, "tensor ", std::string(name), " comes twice");
      found.push_back(tensors_[place(value)]);
      found.back().name = name;
    }
    return found;
  }

 private:
  static const char* name_of_kind(Value value) { return kKindNames[static_cast<std::size_t>(value.kind)]; }
  static std::size_t place(Value value) { return static_cast<std::size_t>(value.number); }

  void push(Kind kind, std::int64_t number) { stack_.push_back({kind, number}); }

  template <class T>
  void push_new(Kind kind, std::vector<T>& table, T value) {
    table.push_back(std::move(value));
    push(kind, static_cast<std::int64_t>(table.size()) - 1);
  }

  Value pop() {
    expect(!stack_.empty() && stack_.back().kind != Kind::mark, "expected a value on the stack, found none");
    const Value value = stack_.back();
    stack_.pop_back();
    return value;
  }

  Value pop(Kind kind) {
    const Value value = pop();
    expect(value.kind == kind, "expected ", kKindNames[static_cast<std::size_t>(kind)], ", found ",
           name_of_kind(value));
    return value;
  }

  std::vector<Value> pop_count(std::size_t count) {
    std::vector<Value> values(count);
    for (std::size_t i = count; i-- > 0;)
      values[i] = pop();
    return values;
  }

  std::vector<Value> pop_to_mark() {
    std::size_t first = stack_.size();
    while (first > 0 && stack_[first - 1].kind != Kind::mark)
      --first;
    expect(first > 0, "expected a mark on the stack, found none");
    std::vector<Value> values(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(first - 1);
    return values;
  }

  Value& top(Kind kind) {
    const Value value = pop(kind);
    stack_.push_back(value);
    return stack_.back();
  }

  void append(const std::vector<Value>& values) {
    std::vector<Value>& list = sequences_[place(top(Kind::list))];
    list.insert(list.end(), values.begin(), values.end());
  }

  void set_items(const std::vector<Value>& values) {
    expect(values.size() % 2 == 0, "expected pairs of key and value, found ", values.size(), " values");
    auto& dict = dicts_[place(top(Kind::dict))];
    for (std::size_t i = 0; i < values.size(); i += 2)
      dict.emplace_back(values[i], values[i + 1]);
  }

  void remember(std::uint64_t index) {
    expect(!stack_.empty() && stack_.back().kind != Kind::mark, "expected a value to remember, found none");
    memo_[index] = stack_.back();
  }

  void recall(std::uint64_t index) {
    const auto found = memo_.find(index);
    expect(found != memo_.end(), "nothing was remembered as ", index);
    stack_.push_back(found->second);
  }

  void push_long() {
    const std::uint64_t bytes = take_number(1);
    expect(bytes <= 8, "expected an int of at most 8 bytes, found ", bytes);
    const std::uint64_t word = take_number(bytes);
    const auto shift = static_cast<int>(64 - 8 * bytes);  // brings the sign to its place and back
    push(Kind::whole, bytes == 0 ? 0 : static_cast<std::int64_t>(word << shift) >> shift);
  }

  void push_global() {
    const std::string_view module = take_line();
    const std::string name = std::string(module) + " " + std::string(take_line());
    if (name == "collections OrderedDict")
      return push(Kind::global, kOrderedDict);
    if (name == "torch._utils _rebuild_tensor_v2")
      return push(Kind::global, kRebuildTensor);
    if (name == "torch._utils _rebuild_parameter")
      return push(Kind::global, kRebuildParameter);
    for (std::size_t i = 0; i < kStorages.size(); ++i)
      if (name == kStorages[i].name)
        return push(Kind::global, kFirstStorage + static_cast<std::int64_t>(i));
    std::ostringstream shown;  // what a file says does not reach a terminal unquoted
    shown << std::quoted(name.substr(0, 100));
    expect(false, "global ", shown.str(), " is refused: nothing but tensors is read, and nothing executed");
  }

  void push_storage() {
    const std::vector<Value> id = sequences_[place(pop(Kind::tuple))];
    expect(id.size() == 5 && id[0].kind == Kind::text && texts_[place(id[0])] == "storage" &&
               id[1].kind == Kind::global && id[1].number >= kFirstStorage && id[2].kind == Kind::text &&
               id[3].kind == Kind::text && id[4].kind == Kind::whole && id[4].number >= 0,
           "expected a persistent id (\"storage\", type, key, device, number of elements)");
    const FileDType dtype = kStorages[static_cast<std::size_t>(id[1].number - kFirstStorage)].dtype;
    push_new(Kind::storage, storages_, {texts_[place(id[2])], dtype, id[4].number});
  }

  void reduce() {
    const std::vector<Value> args = sequences_[place(pop(Kind::tuple))];
    const Value callee = pop(Kind::global);
    if (callee.number == kOrderedDict) {
      expect(args.empty(), "expected OrderedDict without arguments, found ", args.size());
      push_new(Kind::dict, dicts_, {});
    } else if (callee.number == kRebuildTensor) {
      rebuild_tensor(args);
    } else {
      expect(callee.number == kRebuildParameter, "a storage cannot be called");
      expect(
          args.size() == 3 && args[0].kind == Kind::tensor && args[1].kind == Kind::boolean && is_empty_dict(args[2]),
          "expected _rebuild_parameter(tensor, requires_grad, no hooks)");
      stack_.push_back(args[0]);
    }
  }

  bool is_empty_dict(Value value) const { return value.kind == Kind::dict && dicts_[place(value)].empty(); }

  std::vector<std::int64_t> whole_numbers(Value tuple) const {
    std::vector<std::int64_t> numbers;
    for (const Value& value : sequences_[place(tuple)]) {
      expect(value.kind == Kind::whole && value.number >= 0, "expected sizes and strides of at least 0, found ",
             value.kind == Kind::whole ? join(value.number) : name_of_kind(value));
      numbers.push_back(value.number);
    }
    return numbers;
  }

  void rebuild_tensor(const std::vector<Value>& args) {
    expect(args.size() == 6 && args[0].kind == Kind::storage && args[1].kind == Kind::whole && args[1].number >= 0 &&
               args[2].kind == Kind::tuple && args[3].kind == Kind::tuple && args[4].kind == Kind::boolean &&
               is_empty_dict(args[5]),
           "expected _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, no hooks)");
    const Storage& storage = storages_[place(args[0])];
    const std::size_t rank = sequences_[place(args[2])].size(), strides_given = sequences_[place(args[3])].size();
    expect(rank <= Shape::kMaxRank && rank == strides_given, "expected at most ", Shape::kMaxRank,
           " sizes and as many strides, found ", rank, " and ", strides_given);
    const std::vector<std::int64_t> sizes = whole_numbers(args[2]);
    std::vector<std::int64_t> strides = whole_numbers(args[3]);
    check_view(*this, storage, args[1].number, sizes, strides);
    push_new(
        Kind::tensor, tensors_,
        {"", storage.dtype, Shape(sizes), std::move(strides), args[1].number, std::string(storage.key), storage.numel});
  }

  /// OrderedDict's attributes (_metadata): told apart from its items, and without meaning here.
  void build() {
    pop(Kind::dict);
    top(Kind::dict);
  }

  void step(unsigned opcode) {  // the names are pickletools'
    switch (opcode) {
      case 0x80:
        return check_protocol();  // PROTO
      case '}':
        return push_new(Kind::dict, dicts_, {});  // EMPTY_DICT
      case ']':
        return push_new(Kind::list, sequences_, {});  // EMPTY_LIST
      case ')':
        return push_new(Kind::tuple, sequences_, {});  // EMPTY_TUPLE
      case '(':
        return push(Kind::mark, 0);  // MARK
      case 'X':
        return push_new(Kind::text, texts_, take(take_number(4)));  // BINUNICODE
      case 0x8c:
        return push_new(Kind::text, texts_, take(take_number(1)));  // SHORT_BINUNICODE
      case 'c':
        return push_global();  // GLOBAL
      case 'J':
        return push(Kind::whole, static_cast<std::int32_t>(take_number(4)));  // BININT
      case 'K':
        return push(Kind::whole, static_cast<std::int64_t>(take_number(1)));  // BININT1
      case 'M':
        return push(Kind::whole, static_cast<std::int64_t>(take_number(2)));  // BININT2
      case 0x8a:
        return push_long();  // LONG1
      case 't':
        return push_new(Kind::tuple, sequences_, pop_to_mark());  // TUPLE
      case 0x85:
        return push_new(Kind::tuple, sequences_, pop_count(1));  // TUPLE1
      case 0x86:
        return push_new(Kind::tuple, sequences_, pop_count(2));  // TUPLE2
      case 0x87:
        return push_new(Kind::tuple, sequences_, pop_count(3));  // TUPLE3
      case 'Q':
        return push_storage();  // BINPERSID
      case 'R':
        return reduce();  // REDUCE
      case 0x88:
        return push(Kind::boolean, 1);  // NEWTRUE
      case 0x89:
        return push(Kind::boolean, 0);  // NEWFALSE
      case 'N':
        return push(Kind::none, 0);  // NONE
      case 's':
        return set_items(pop_count(2));  // SETITEM
      case 'u':
        return set_items(pop_to_mark());  // SETITEMS
      case 'a':
        return append(pop_count(1));  // APPEND
      case 'e':
        return append(pop_to_mark());  // APPENDS
      case 'q':
        return remember(take_number(1));  // BINPUT
      case 'r':
        return remember(take_number(4));  // LONG_BINPUT
      case 'h':
        return recall(take_number(1));  // BINGET
      case 'j':
        return recall(take_number(4));  // LONG_BINGET
      case 'b':
        return build();  // BUILD
      case '.':
        stopped_ = true;
        return;  // STOP
      default:
        break;
    }
    expect(false, "opcode 0x", std::hex, opcode, " is refused: only what torch.save writes for tensors is read");
  }

  void check_protocol() {
    const std::uint64_t protocol = take_number(1);
    expect(protocol == 2, "expected pickle protocol 2, found ", protocol);
  }

  bool stopped_ = false;
  std::vector<Value> stack_;
  std::unordered_map<std::uint64_t, Value> memo_;
  std::vector<std::string_view> texts_;
  std::vector<Storage> storages_;
  std::vector<TorchTensor> tensors_;
  std::vector<std::vector<Value>> sequences_;  // tuples and lists
  std::vector<std::vector<std::pair<Value, Value>>> dicts_;
};

}  // namespace

bool TorchTensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (std::int64_t i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[static_cast<std::size_t>(i)] != expected)
      return false;
    expected *= shape[i];
  }
  return true;
}

std::vector<TorchTensor> parse_torch_pickle(std::string_view pickle, const std::string& path) {
  return Machine(pickle, path).run();
}

}  // namespace osteon::io
