#include "nn/io/hf_rope.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "backends/error.hpp"

namespace osteon::nn {
namespace {

using nlohmann::json;

struct RopeName {
  RopeType type;
  const char* name;
};
constexpr std::array<RopeName, 4> kRopeNames{{{RopeType::standard, "default"},
                                              {RopeType::linear, "linear"},
                                              {RopeType::dynamic, "dynamic"},
                                              {RopeType::llama3, "llama3"}}};

}  // namespace

RopeConfig read_rope(const io::JsonKeys& keys, const std::string& where, std::int64_t max_positions,
                     std::vector<std::string>& warnings) {
  RopeConfig rope;
  rope.theta = keys.number("rope_theta", rope.theta);
  rope.original_max_position_embeddings = max_positions;
  const std::string key = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!keys.has(key))
    return rope;
  if (!keys.at(key).is_object())
    keys.refuse(key, "an object or null");
  const io::JsonKeys scaling(keys.at(key), where + ": " + key);
  rope.theta = scaling.number("rope_theta", rope.theta);
  if (scaling.number("partial_rotary_factor", 1.0) != 1.0)
    scaling.refuse("partial_rotary_factor", "1: rotating a part of each head is not supported");

  // transformers 4.43 to 4.45 wrote both names; the new one counts
  const std::string type_key = scaling.has("rope_type") || !scaling.has("type") ? "rope_type" : "type";
  if (!scaling.has(type_key) && key == "rope_scaling")
    scaling.refuse("rope_type", "default, linear, dynamic or llama3");
  const std::string name = scaling.text(type_key, "default");
  const auto* found = std::find_if(kRopeNames.begin(), kRopeNames.end(), [&](RopeName r) { return r.name == name; });
  if (found == kRopeNames.end())
    scaling.refuse(type_key, "default, linear, dynamic or llama3: other scalings are not supported");
  rope.type = found->type;

  std::set<std::string_view> used{"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  const auto require = [&](const char* name_of_key) {
    used.insert(name_of_key);
    if (!scaling.has(name_of_key))
      scaling.refuse(name_of_key, "a number, which rope type " + name + " needs");
    return scaling.number(name_of_key, 0);
  };
  if (rope.type != RopeType::standard)
    rope.factor = require("factor");
  if (rope.type == RopeType::llama3) {
    rope.low_freq_factor = require("low_freq_factor");
    rope.high_freq_factor = require("high_freq_factor");
    require("original_max_position_embeddings");
    rope.original_max_position_embeddings = scaling.whole("original_max_position_embeddings", 0);
  }
  for (const auto& [unused, value] : keys.at(key).items()) {
    if (!used.contains(unused))
      warnings.push_back(join(where, ": ", key, ": key ", unused, " is not used by rope type ", name));
  }
  return rope;
}

json rope_scaling_json(const RopeConfig& rope) {
  if (rope.type == RopeType::standard)
    return nullptr;
  json scaling{{"rope_type", kRopeNames[static_cast<std::size_t>(rope.type)].name}, {"factor", rope.factor}};
  if (rope.type == RopeType::llama3) {
    scaling["low_freq_factor"] = rope.low_freq_factor;
    scaling["high_freq_factor"] = rope.high_freq_factor;
    scaling["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  return scaling;
}

json rope_parameters_json(const RopeConfig& rope) {
  json parameters = rope.type == RopeType::standard ? json{{"rope_type", "default"}} : rope_scaling_json(rope);
  parameters["rope_theta"] = rope.theta;
  return parameters;
}

}  // namespace osteon::nn
