#include "test/nn/pickle_tokens.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

namespace osteon::test {
namespace {

constexpr unsigned char kProto = 0x80, kLong1 = 0x8a, kTuple1 = 0x85, kTrue = 0x88, kFalse = 0x89, kShortText = 0x8c;

void put(std::string& text, std::int64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    text.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff));
}

/// Writes values as a pickler does that sometimes remembers what it wrote, and then may recall it.
class Pickler {
 public:
  Pickler(const DescribedFile& file, Random& random) : file_(file), random_(random) {}

  std::vector<PickleToken> run() {
    op(kProto, 2);
    dict();
    const bool one_by_one = random_.one_in(4);
    if (!one_by_one)
      op('(');
    for (const DescribedTensor& one : file_.tensors) {
      text(one.name);
      tensor(one);
      if (one_by_one)
        op('s');
    }
    if (!one_by_one)
      op('u');
    if (random_.one_in(4))
      metadata();
    op('.');
    return tokens_;
  }

 private:
  void op(unsigned char opcode, std::int64_t number = 0, const std::string& text = {}) {
    tokens_.push_back({opcode, text, number});
  }

  void remember() {
    if (random_.one_in(3))
      return;
    wide_memo() ? op('r', next_) : op('q', next_);
    ++next_;
  }
  bool wide_memo() { return next_ > 255 || random_.one_in(4); }
  void recall(std::int64_t index) { index > 255 || random_.one_in(4) ? op('j', index) : op('h', index); }

  /// A text or a global, which may have been remembered.
  void atom(unsigned char opcode, const std::string& text) {
    const auto known = memo_.find(text);
    if (known != memo_.end() && !random_.one_in(4))
      return recall(known->second);
    op(opcode, 0, text);
    const std::int64_t before = next_;
    remember();
    if (next_ > before)
      memo_[text] = before;
  }
  void text(const std::string& value) { atom(random_.one_in(2) ? 'X' : kShortText, value); }
  void global(const std::string& name) { atom('c', name); }

  void whole(std::int64_t value) {
    if (value >= 0 && value < 256 && !random_.one_in(4))
      op('K', value);
    else if (value >= 0 && value < 65536 && random_.one_in(2))
      op('M', value);
    else
      op(random_.one_in(2) ? 'J' : kLong1, value);
  }

  void ordered_dict() {
    global("collections OrderedDict");
    op(')');
    op('R');
    remember();
  }
  void dict() {
    if (random_.one_in(2))
      return ordered_dict();
    op('}');
    remember();
  }

  void tuple(const std::vector<std::int64_t>& values) {
    const bool marked = values.size() > 3 || random_.one_in(4);
    if (marked)
      op('(');
    for (const std::int64_t value : values)
      whole(value);
    if (marked)
      op('t');
    else if (values.empty())
      op(')');
    else
      op(static_cast<unsigned char>(kTuple1 + values.size() - 1));
    remember();
  }

  void storage(std::size_t index) {
    const DescribedStorage& storage = file_.storages[index];
    op('(');
    text("storage");
    global("torch " + storage.type);
    text(std::to_string(index));
    text("cpu");
    whole(storage.numel);
    op('t');
    remember();
    op('Q');
  }

  void tensor(const DescribedTensor& one) {
    if (one.is_parameter)
      global("torch._utils _rebuild_parameter");
    global("torch._utils _rebuild_tensor_v2");
    op('(');
    storage(one.storage);
    whole(one.offset);
    tuple(one.sizes);
    tuple(one.strides);
    op(random_.one_in(2) ? kTrue : kFalse);
    ordered_dict();
    op('t');
    op('R');
    remember();
    if (!one.is_parameter)
      return;
    op(kTrue);
    dict();
    op(kTuple1 + 2);
    op('R');
    remember();
  }

  /// {"_metadata": {"": {"version": 1}}}
  void metadata() {
    op('}');
    text("_metadata");
    dict();
    text("");
    op('}');
    text("version");
    whole(1);
    op('s');
    op('s');
    op('s');
    op('b');
  }

  const DescribedFile& file_;
  Random& random_;
  std::vector<PickleToken> tokens_;
  std::int64_t next_ = 0;
  std::map<std::string, std::int64_t> memo_;
};

}  // namespace

DescribedFile random_file(Random& random) {
  struct Type {
    const char* name;
    std::int64_t element;
  };
  constexpr std::array<Type, 6> kTypes{{{"FloatStorage", 4},
                                        {"HalfStorage", 2},
                                        {"BFloat16Storage", 2},
                                        {"LongStorage", 8},
                                        {"IntStorage", 4},
                                        {"ByteStorage", 1}}};
  DescribedFile file;
  const std::size_t tensors = random.below(5);
  for (std::size_t i = 0; i < tensors; ++i) {
    DescribedTensor& one = file.tensors.emplace_back();
    one.name = "layer." + std::to_string(i);
    one.is_parameter = random.one_in(4);
    const std::size_t rank = random.below(5);
    std::vector<std::size_t> order;  // from the densest dimension on
    for (std::size_t dim = rank; dim-- > 0;) {
      one.sizes.insert(one.sizes.begin(), random.number(random.one_in(8) ? 0 : 1, 4));
      order.push_back(dim);
    }
    if (random.one_in(3))
      for (std::size_t dim = 1; dim < rank; ++dim)
        std::swap(order[dim], order[random.below(dim + 1)]);
    one.strides.resize(rank);
    std::int64_t reach = 1;
    for (const std::size_t dim : order) {
      one.strides[dim] = reach * (random.one_in(6) ? 2 : 1);
      reach = one.strides[dim] * std::max<std::int64_t>(one.sizes[dim], 1);
    }
    one.offset = random.number(0, 3);
    const std::int64_t needed = one.offset + reach;
    const bool shared = !file.storages.empty() && random.one_in(3);
    one.storage = shared ? random.below(file.storages.size()) : file.storages.size();
    if (shared) {
      file.storages[one.storage].numel = std::max(file.storages[one.storage].numel, needed);
      continue;
    }
    const Type type = random.of(kTypes);
    file.storages.push_back({type.name, "", type.element, needed + random.number(0, 2)});
  }
  for (DescribedStorage& storage : file.storages)
    for (std::int64_t i = 0; i < storage.numel * storage.element; ++i)
      storage.bytes.push_back(static_cast<char>(random.below(256)));
  return file;
}

std::string elements_of(const DescribedFile& file, const DescribedTensor& tensor) {
  const DescribedStorage& storage = file.storages[tensor.storage];
  std::int64_t numel = 1;
  for (const std::int64_t size : tensor.sizes)
    numel *= size;
  std::string elements;
  for (std::int64_t i = 0; i < numel; ++i) {
    std::int64_t rest = i, at = tensor.offset;
    for (std::size_t dim = tensor.sizes.size(); dim-- > 0;) {
      at += rest % tensor.sizes[dim] * tensor.strides[dim];
      rest /= tensor.sizes[dim];
    }
    elements +=
        storage.bytes.substr(static_cast<std::size_t>(at * storage.element), static_cast<std::size_t>(storage.element));
  }
  return elements;
}

std::vector<PickleToken> pickle_of(const DescribedFile& file, Random& random) { return Pickler(file, random).run(); }

std::string bytes_of(const std::vector<PickleToken>& tokens) {
  std::string bytes;
  for (const PickleToken& token : tokens) {
    bytes.push_back(static_cast<char>(token.opcode));
    switch (token.opcode) {
      case 'X':
        put(bytes, static_cast<std::int64_t>(token.text.size()), 4);
        bytes += token.text;
        break;
      case kShortText:
        put(bytes, static_cast<std::int64_t>(token.text.size()), 1);
        bytes += token.text;
        break;
      case 'c': {
        const std::size_t space = token.text.find(' ');
        bytes += token.text.substr(0, space) + "\n" + (space == std::string::npos ? "" : token.text.substr(space + 1)) +
                 "\n";
        break;
      }
      case kLong1:
        put(bytes, 8, 1);
        put(bytes, token.number, 8);
        break;
      case 'J':
      case 'r':
      case 'j':
        put(bytes, token.number, 4);
        break;
      case 'M':
        put(bytes, token.number, 2);
        break;
      case 'K':
      case 'q':
      case 'h':
      case kProto:
        put(bytes, token.number, 1);
        break;
      default:
        break;
    }
  }
  return bytes;
}

void mutate(std::vector<PickleToken>& tokens, Random& random) {
  constexpr std::string_view kOpcodes =
      "\x80}])(X\x8c"
      "cJKM\x8at\x85\x86\x87QR\x88\x89Nsuaeqrhjb.i\x92";
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::array<std::int64_t, 12> kEdges{0,
                                                1,
                                                -1,
                                                2,
                                                255,
                                                65535,
                                                std::int64_t{1} << 31,
                                                (std::int64_t{1} << 32) - 1,
                                                std::int64_t{1} << 62,
                                                kMost,
                                                -kMost,
                                                std::numeric_limits<std::int64_t>::min()};
  const std::array<std::string, 10> kTexts{"storage",
                                           "cpu",
                                           "torch FloatStorage",
                                           "torch LongStorage",
                                           "collections OrderedDict",
                                           "posix system",
                                           "torch._utils _rebuild_tensor_v2",
                                           "",
                                           "../data.pkl",
                                           std::string(300, 'x')};
  constexpr std::string_view kNumbers = "JKM\x8a", kMemo = "qrhj",
                             kStrings =
                                 "X\x8c"
                                 "c";
  const auto is_one_of = [](std::string_view opcodes, const PickleToken& token) {
    return opcodes.find(static_cast<char>(token.opcode)) != opcodes.npos;
  };
  /// A random token of a kind; any where there is none.
  const auto find = [&](std::string_view opcodes) -> PickleToken& {
    std::vector<PickleToken*> found;
    for (PickleToken& token : tokens)
      if (is_one_of(opcodes, token))
        found.push_back(&token);
    return found.empty() ? tokens[random.below(tokens.size())] : *random.of(found);
  };
  const auto at = [&] { return static_cast<std::ptrdiff_t>(random.below(tokens.size())); };
  for (std::size_t change = 1 + random.below(2); change > 0 && tokens.size() > 1; --change) {
    switch (random.below(10)) {
      case 0:
        tokens.erase(tokens.begin() + at());
        break;
      case 1: {
        const PickleToken copy = tokens[random.below(tokens.size())];
        tokens.insert(tokens.begin() + at(), copy);
        break;
      }
      case 2:
        std::swap(tokens[random.below(tokens.size())], tokens[random.below(tokens.size())]);
        break;
      case 3:
        tokens[random.below(tokens.size())].opcode = static_cast<unsigned char>(random.of(kOpcodes));
        break;
      case 4: {
        PickleToken& token = find(kNumbers);
        token.number = random.of(kEdges);
        token.opcode = kLong1;
        break;
      }
      case 5: {
        PickleToken& token = find(kNumbers);
        token.number = random.one_in(2) ? token.number ^ 1 : token.number ^ 2;
        break;
      }
      case 6:
        find(kMemo).number = random.number(0, random.one_in(8) ? 300 : 20);
        break;
      case 7:
        find(kStrings).text = random.of(kTexts);
        break;
      case 8: {  // another's text, such as a second tensor of one name or a storage of another key
        const std::string other = find(kStrings).text;
        find(kStrings).text = other;
        break;
      }
      default: {  // a piece again, elsewhere
        const auto begin = at(), end = std::min(begin + 1 + at() % 8, static_cast<std::ptrdiff_t>(tokens.size()));
        const std::vector<PickleToken> piece(tokens.begin() + begin, tokens.begin() + end);
        tokens.insert(tokens.begin() + at(), piece.begin(), piece.end());
      }
    }
  }
}

}  // namespace osteon::test
