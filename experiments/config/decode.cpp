#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <type_traits>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "experiments/config/toml_file.hpp"
#include "experiments/config/values.hpp"

namespace osteon::experiments {
namespace {

// ---- words for messages

std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "a boolean";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date";
  }
}

std::string words(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names)
    out += (out.empty() ? "" : ", ") + name;
  return out;
}

template <class T>
struct Kind {
  static constexpr bool list = false, pairs = false;
  using Element = T;
};
template <class T>
struct Kind<std::optional<T>> : Kind<T> {};
template <class T>
struct Kind<std::vector<T>> {
  static constexpr bool list = true, pairs = false;
  using Element = T;
};
template <class T>
struct Kind<Pattern<T>> {
  static constexpr bool list = false, pairs = true;
  using Element = T;
};

[[noreturn]] void refuse(const Key& key, const toml::node& node, std::string_view origin) {
  fail<ConfigError>(origin, ": ", key.name, ": expected ", expected_text(key), ", got ", got_text(node));
}

/// Every value is decoded with these three facts at hand.
struct Decode {
  const Key& key;
  std::string_view origin;

  void operator()(const toml::node& node, bool& out) const {
    const auto* value = node.as_boolean();
    if (!value)
      refuse(key, node, origin);
    out = value->get();
  }
  void operator()(const toml::node& node, std::int64_t& out) const {
    const auto* value = node.as_integer();
    if (!value || !key.range.holds(static_cast<double>(value->get())))
      refuse(key, node, origin);
    out = value->get();
  }
  void operator()(const toml::node& node, double& out) const {
    const auto value = node.is_boolean() ? std::nullopt : node.value<double>();
    if (!value || !std::isfinite(*value) || !key.range.holds(*value))
      refuse(key, node, origin);
    out = *value;
  }
  void operator()(const toml::node& node, std::string& out) const {
    std::string text;
    if (const auto* value = node.as_string()) {
      text = value->get();
    } else if (const auto* truth = node.as_boolean(); truth && allows(key, "true") && !key.allowed.empty()) {
      text = truth->get() ? "true" : "false";  // init_weights is a boolean or a name, as in adapter_config.json
    } else {
      refuse(key, node, origin);
    }
    if (!allows(key, text))
      fail<ConfigError>(origin, ": ", key.name, ": expected ", expected_text(key), ", got \"", text, "\"",
                        suggestion(text, key.allowed));
    out = std::move(text);
  }
  template <class T>
  void operator()(const toml::node& node, std::optional<T>& out) const {
    T value{};
    (*this)(node, value);
    out = value;
  }
  template <class T>
  void operator()(const toml::node& node, std::vector<T>& out) const {
    std::vector<T> values;
    if (const auto* array = node.as_array()) {
      for (const toml::node& element : *array)
        (*this)(element, values.emplace_back());
    } else if (const auto* text = node.as_string(); !text || !text->get().empty()) {
      (*this)(node, values.emplace_back());
    }
    out = std::move(values);
  }
  template <class T>
  void operator()(const toml::node& node, Pattern<T>& out) const {
    const auto* table = node.as_table();
    if (!table)
      refuse(key, node, origin);
    Pattern<T> pairs;
    for (const auto& [name, value] : in_order(*table))
      (*this)(*value, pairs.emplace_back(name, T{}).second);
    out = std::move(pairs);
  }
  void operator()(const toml::node& node, ModuleNames& out) const {
    ModuleNames modules;
    if (const auto* text = node.as_string()) {
      // The names of modules hold none of these characters, so a text that does is one pattern.
      const std::string& value = text->get();
      if (value == "all-linear" || value.find_first_of("*+?()[]|\\^${}") != std::string::npos) {
        modules.pattern = value;
      } else {
        std::stringstream parts(value);
        for (std::string part; std::getline(parts, part, ',');)
          if (!part.empty())
            modules.names.push_back(part);
      }
    } else if (const auto* array = node.as_array()) {
      (*this)(*array, modules.names);
    } else {
      refuse(key, node, origin);
    }
    out = std::move(modules);
  }
};

// ---- text to TOML values

/// A number or a boolean where the whole text is one, else the text itself.
void push_scalar(toml::array& out, const std::string& text) {
  const char *begin = text.data(), *end = begin + text.size();
  std::int64_t whole = 0;
  double real = 0;
  if (const auto r = std::from_chars(begin, end, whole); r.ec == std::errc{} && r.ptr == end) {
    out.push_back(whole);
  } else if (const auto d = std::from_chars(begin, end, real); d.ec == std::errc{} && d.ptr == end) {
    out.push_back(real);
  } else if (text == "true" || text == "false") {
    out.push_back(text == "true");
  } else {
    out.push_back(text);
  }
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::stringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, separator);)
    parts.push_back(part);
  return parts;
}

template <class T>
void decode_text(const Decode& decode, std::string_view text, T& out) {
  constexpr bool in_brackets = Kind<T>::list || std::is_same_v<T, ModuleNames>;
  toml::array holder;
  if ((in_brackets && text.starts_with('[')) || (Kind<T>::pairs && text.starts_with('{'))) {
    const toml::table parsed = parse_toml(join("value = ", text), decode.origin);
    check<ConfigError>(parsed.size() == 1, decode.origin, ": ", decode.key.name, ": expected one value");
    return decode(*parsed.get("value"), out);
  }
  if constexpr (Kind<T>::list) {
    toml::array elements;
    for (const std::string& part : split(text, ','))
      std::is_same_v<typename Kind<T>::Element, std::string> ? elements.push_back(part) : push_scalar(elements, part);
    return decode(elements, out);
  } else if constexpr (Kind<T>::pairs) {
    T pairs;
    for (const std::string& part : split(text, ',')) {
      const std::size_t equals = part.rfind('=');
      check<ConfigError>(equals != std::string::npos, decode.origin, ": ", decode.key.name, ": expected ",
                         expected_text(decode.key), ", got \"", part, '"');
      holder.clear();
      push_scalar(holder, part.substr(equals + 1));
      decode(holder[0], pairs.emplace_back(part.substr(0, equals), typename Kind<T>::Element{}).second);
    }
    out = std::move(pairs);
  } else {
    if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, ModuleNames>)
      holder.push_back(std::string(text));
    else
      push_scalar(holder, std::string(text));
    decode(holder[0], out);
  }
}

template <class T>
std::string element_text(const Key& key) {
  if constexpr (std::is_same_v<T, bool>)
    return "true or false";
  if constexpr (std::is_same_v<T, std::int64_t>)
    return "an integer" + key.range.text();
  if constexpr (std::is_same_v<T, double>)
    return "a number" + key.range.text();
  return key.allowed.empty() ? "a string" : "one of " + words(key.allowed);
}

template <class T>
std::string type_text(const Key& key) {
  if constexpr (std::is_same_v<T, ModuleNames>)
    return "a list of module names, all-linear, or a regular expression";
  const std::string element = element_text<typename Kind<T>::Element>(key);
  if constexpr (Kind<T>::list)
    return "a list, each " + element;
  if constexpr (Kind<T>::pairs)
    return "pairs name = value, each value " + element;
  return element;
}

/// What a boolean of kCheckpointKey says as the key that it stands for.
const char* policy_of(bool checkpoint) { return checkpoint ? "checkpoint" : "save"; }

}  // namespace

std::string got_text(const toml::node& node) {
  if (const auto* text = node.as_string())
    return join('"', text->get(), '"');
  if (const auto* number = node.as_integer())
    return std::to_string(number->get());
  if (const auto* number = node.as_floating_point())
    return number_text(number->get());
  if (const auto* truth = node.as_boolean())
    return truth->get() ? "true" : "false";
  return kind_of(node);
}

std::string expected_text(const Key& key) {
  return std::visit([&]<class T>(T RunConfig::*) { return type_text<T>(key); }, key.member);
}

void assign(RunConfig& config, const Key& key, const toml::node& value, std::string_view origin) {
  if (const auto* checkpoint = value.as_boolean(); checkpoint && key.name == kMemoryPolicyKey) {
    config.memory_policy = policy_of(checkpoint->get());
    return;
  }
  std::visit([&](auto member) { Decode{key, origin}(value, config.*member); }, key.member);
}

void assign_text(RunConfig& config, const Key& key, std::string_view text, std::string_view origin) {
  if (key.name == kMemoryPolicyKey && (text == "true" || text == "false"))
    text = policy_of(text == "true");
  std::visit([&](auto member) { decode_text(Decode{key, origin}, text, config.*member); }, key.member);
}

}  // namespace osteon::experiments
