#include "nn/io/rwkv_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "backends/error.hpp"
#include "backends/suggest.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/json_keys.hpp"

namespace osteon::nn {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::int64_t kLargestSize = std::int64_t{1} << 28;  // products of two sizes and 8 bytes stay below 2^63
constexpr std::int64_t kMostLayers = 10'000;
constexpr const char* kIgnored[] = {"architectures", "torch_dtype", "dtype", "transformers_version"};

/// Reads sizes, and remembers which keys there are.
class Sizes {
 public:
  Sizes(const json& content, const std::string& where) : keys_(content, where) {}

  std::int64_t need(const char* key, std::int64_t most = kLargestSize) {
    if (!keys_.has(key))
      keys_.refuse(key, join("a whole number, 1 to ", most));
    return get(key, 0, most);
  }
  std::int64_t get(const char* key, std::int64_t otherwise, std::int64_t most = kLargestSize) {
    known_.emplace_back(key);
    const std::int64_t size = keys_.whole(key, otherwise);
    if (size < 1 || size > most)
      keys_.refuse(key, join("a whole number, 1 to ", most));
    return size;
  }
  const io::JsonKeys& keys() const { return keys_; }
  const std::vector<std::string>& known() const { return known_; }

 private:
  io::JsonKeys keys_;
  std::vector<std::string> known_;
};

RwkvConfig read_shared(Sizes& sizes) {
  RwkvConfig config;
  config.vocab_size = sizes.need("vocab_size");
  config.hidden_size = sizes.need("hidden_size");
  config.num_hidden_layers = sizes.need("num_hidden_layers", kMostLayers);
  const std::int64_t head_dim = sizes.get("head_dim", 64);
  if (config.hidden_size % head_dim != 0)
    sizes.keys().refuse("hidden_size", join("a multiple of head_dim = ", head_dim));
  config.heads = config.hidden_size / head_dim;
  return config;
}

Rwkv7Config read_seven(Sizes& sizes) {
  Rwkv7Config config = with_usual_sizes<Rwkv7Config>(read_shared(sizes));
  for (const auto& [key, size] : {std::pair("intermediate_size", &config.intermediate_size),
                                  {"decay_low_rank_dim", &config.decay_rank},
                                  {"a_low_rank_dim", &config.rate_rank},
                                  {"v_low_rank_dim", &config.value_rank},
                                  {"gate_low_rank_dim", &config.gate_rank}})
    *size = sizes.get(key, *size);
  return config;
}

Rwkv6Config read_six(Sizes& sizes) {
  Rwkv6Config config = with_usual_sizes<Rwkv6Config>(read_shared(sizes));
  for (const auto& [key, size] : {std::pair("intermediate_size", &config.intermediate_size),
                                  {"mix_low_rank_dim", &config.mix_rank},
                                  {"decay_low_rank_dim", &config.decay_rank}})
    *size = sizes.get(key, *size);
  return config;
}

json shared_json(const char* model_type, const RwkvConfig& config) {
  return {{"model_type", model_type},          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size}, {"num_hidden_layers", config.num_hidden_layers},
          {"head_dim", config.head_size()},    {"intermediate_size", config.intermediate_size}};
}

}  // namespace

template <>
Rwkv7Config with_usual_sizes(const RwkvConfig& shared) {
  Rwkv7Config config{shared};
  const auto channels = static_cast<double>(shared.hidden_size);
  const auto near = [](double rank) { return std::max<std::int64_t>(32, std::llround(rank / 32) * 32); };
  config.intermediate_size = 4 * shared.hidden_size;
  config.decay_rank = config.rate_rank = near(1.8 * std::sqrt(channels));
  config.value_rank = near(1.3 * std::sqrt(channels));
  config.gate_rank = near(0.6 * std::pow(channels, 0.8));
  return config;
}

template <>
Rwkv6Config with_usual_sizes(const RwkvConfig& shared) {
  Rwkv6Config config{shared};
  const std::int64_t wide = shared.hidden_size >= 4096 ? 2 : 1;
  config.intermediate_size = std::max<std::int64_t>(shared.hidden_size * 7 / 2 / 32 * 32, 32);
  config.mix_rank = 32 * wide;
  config.decay_rank = 64 * wide;
  return config;
}

bool is_rwkv_folder(const fs::path& folder) {
  if (!fs::is_directory(folder))
    return false;
  if (!fs::exists(folder / "config.json"))
    return fs::exists(folder / "model.pth");
  const json content = io::read_json_object(folder / "config.json");
  const auto type = content.find("model_type");
  return type != content.end() && type->is_string() && type->get_ref<const std::string&>().starts_with("rwkv");
}

AnyRwkvConfig read_rwkv_config_json(const fs::path& folder, std::vector<std::string>* warnings) {
  const fs::path file = folder / "config.json";
  check<FileError>(fs::exists(file), folder.string(), ": expected config.json with the sizes of an RWKV model, found ",
                   "none");
  const json content = io::read_json_object(file);
  Sizes sizes(content, file.string());
  const std::string type = sizes.keys().text("model_type", "");
  if (type != "rwkv6" && type != "rwkv7")
    sizes.keys().refuse("model_type", "rwkv6 or rwkv7");
  const AnyRwkvConfig config = type == "rwkv7" ? AnyRwkvConfig(read_seven(sizes)) : AnyRwkvConfig(read_six(sizes));
  for (const auto& [key, value] : content.items()) {
    const auto& known = sizes.known();
    const bool ignored = std::find(std::begin(kIgnored), std::end(kIgnored), key) != std::end(kIgnored);
    if (warnings != nullptr && key != "model_type" && !ignored &&
        std::find(known.begin(), known.end(), key) == known.end())
      warnings->push_back(join(file.string(), ": unknown key ", key, " is ignored", suggestion(key, known)));
  }
  return config;
}

void write_rwkv_config_json(const fs::path& folder, const Rwkv& model) {
  json content;
  if (const auto* seven = dynamic_cast<const Rwkv7*>(&model)) {
    const Rwkv7Config& config = seven->config();
    content = shared_json("rwkv7", config);
    content["decay_low_rank_dim"] = config.decay_rank;
    content["a_low_rank_dim"] = config.rate_rank;
    if (config.value_rank > 0)
      content["v_low_rank_dim"] = config.value_rank;
    content["gate_low_rank_dim"] = config.gate_rank;
  } else {
    const Rwkv6Config& config = dynamic_cast<const Rwkv6&>(model).config();
    content = shared_json("rwkv6", config);
    content["mix_low_rank_dim"] = config.mix_rank;
    content["decay_low_rank_dim"] = config.decay_rank;
  }
  io::write_file_atomically(folder / "config.json", content.dump(2) + "\n");
}

std::unique_ptr<Rwkv> make_rwkv(const AnyRwkvConfig& config, DType dtype, Device device) {
  if (const auto* seven = std::get_if<Rwkv7Config>(&config))
    return std::make_unique<Rwkv7>(*seven, dtype, device);
  return std::make_unique<Rwkv6>(std::get<Rwkv6Config>(config), dtype, device);
}

}  // namespace osteon::nn
