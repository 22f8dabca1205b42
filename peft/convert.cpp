#include "peft/convert.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backends/kernels/block_sum.hpp"
#include "backends/kernels/elementwise.hpp"
#include "nn/io/checkpoint.hpp"
#include "nn/io/output_folder.hpp"
#include "peft/hf_config.hpp"
#include "peft/hf_format.hpp"

namespace osteon::peft {
namespace {

void copy_into(const Tensor& to, const Tensor& from) {
  on_device(to.device(), [&](auto dev) { kernels::copy(dev, from.view(), to.mut()); });
}

/// Bone's block D [r, out], a mini one tiled along the outputs.
Tensor whole_block(const Tensor& block, std::int64_t out_features) {
  if (block.dim(1) == out_features)
    return block.detach();
  const Tensor tiled = empty({block.dim(0), out_features}, block.dtype(), block.device(), Category::workspace);
  on_device(block.device(), [&](auto dev) { kernels::block_tile(dev, block.view(), {tiled.mut(), false}); });
  return tiled;
}

/// A [r, in] with A[j,i] = [i mod r = j], and B [out, r] = D^T.
void fill_lora(const Adapter& lora, const Tensor& block) {
  const Tensor a = lora.parameter("lora_A.weight"), b = lora.parameter("lora_B.weight");
  const std::int64_t rank = a.dim(0), in = a.dim(1);
  std::vector<double> binary(static_cast<std::size_t>(rank * in), 0.0);
  for (std::int64_t i = 0; i < in; ++i)
    binary[static_cast<std::size_t>((i % rank) * in + i)] = 1.0;
  copy_into(a, from_values(binary, {rank, in}, DType::f64));
  const Tensor whole = whole_block(block, b.dim(0));
  on_device(b.device(), [&](auto dev) { kernels::transpose(dev, whole.view(), {b.mut(), false}); });
}

/// What makes Bat's two layouts equal: W_ab <- W_ab (I + B) + B, whether B is called that of a or that of b.
void check_one_matrix(const std::string& module, const Tensor& blocks) {
  const std::vector<double> values = blocks.to_doubles();
  const auto size = static_cast<std::size_t>(blocks.dim(1) * blocks.dim(2));
  for (std::size_t i = size; i < values.size(); ++i)
    check<ConfigError>(values[i] == values[i % size], "convert: ", module,
                       ": Bat's layouts are equal only where all matrices of a module are; matrix ", i / size,
                       " differs from matrix 0 in element ", i % size, ": ", values[i], " and ", values[i % size]);
}

void fill_blocks(const Tensor& to, const Tensor& from) {
  for (std::int64_t i = 0; i < to.dim(0); ++i)
    copy_into(to.slice(i, i + 1), from.slice(0, 1));
}

struct Conversion {
  const char *from, *to;
};
constexpr Conversion kConversions[] = {{"bone", "miss"},      {"miss", "bone"},   {"bone", "lora"},  {"miss", "lora"},
                                       {"miss_mini", "lora"}, {"bat", "bat_row"}, {"bat_row", "bat"}};

}  // namespace

std::vector<std::string> conversions() {
  std::vector<std::string> names;
  for (const Conversion& one : kConversions)
    names.push_back(join(one.from, " -> ", one.to));
  return names;
}

ModelAdapter& convert_adapter(PeftModel& model, const std::string& to, const std::string& name) {
  check<ConfigError>(!model.active().empty(), "convert: expected an active adapter");
  const std::string from_name = model.active();
  const std::string method = model.adapter(from_name).config.method;
  const bool known = std::any_of(std::begin(kConversions), std::end(kConversions),
                                 [&](const Conversion& one) { return one.from == method && one.to == to; });
  std::string all;
  for (const std::string& one : conversions())
    all += (all.empty() ? "" : ", ") + one;
  check<ConfigError>(known, "convert: from ", method, " to ", to, ": no exact conversion; there are: ", all);

  if (to == "bat" || to == "bat_row")
    for (const auto& [module, adapter] : model.adapter(from_name).modules)
      check_one_matrix(module, adapter->parameters()[0].second);
  AdapterConfig config = model.adapter(from_name).config;
  config.method = to;
  config.init = "true";
  if (to == "lora") {
    config.alpha = static_cast<double>(config.rank);
    for (const auto& [pattern, rank] : config.rank_pattern)
      config.alpha_pattern.emplace_back(pattern, static_cast<double>(rank));
  }
  ModelAdapter& made = model.add(config, name, /*initialise=*/false);
  const ModelAdapter& source = model.adapter(from_name);
  for (const auto& [module, adapter] : source.modules) {
    const Tensor block = adapter->parameters()[0].second;
    if (to == "lora")
      fill_lora(*made.modules[module], block);
    else if (to == "bat" || to == "bat_row")
      fill_blocks(made.modules[module]->parameters()[0].second, block);
    else
      copy_into(made.modules[module]->parameters()[0].second, block);
  }
  for (const auto& [parameter, tensor] : source.saved_modules)
    copy_into(made.saved_modules[parameter], tensor);
  return made;
}

void save_residual_as_lora(PeftModel& model, const NamedTensors& start, const std::filesystem::path& folder) {
  const ModelAdapter& adapter = model.adapter(model.active());
  check<ConfigError>(adapter.method->changes_base(), "convert: expected a PiSSA or OLoRA adapter, got ",
                     adapter.config.method);
  AdapterConfig config = adapter.config;
  config.method = "lora";
  config.init = "true";
  config.rank *= 2;
  config.alpha *= 2;
  for (auto& [pattern, rank] : config.rank_pattern)
    rank *= 2;
  for (auto& [pattern, alpha] : config.alpha_pattern)
    alpha *= 2;
  NamedTensors tensors;
  for (const NamedTensor& parameter : adapter_tensors(model, model.active())) {
    const std::string& name = parameter.first;  // clang captures no structured binding
    const Tensor& now = parameter.second;
    const bool is_a = name.ends_with(".lora_A.weight");
    if (!is_a && !name.ends_with(".lora_B.weight")) {  // a module or bias trained whole
      tensors.push_back(parameter);
      continue;
    }
    const auto before = std::find_if(start.begin(), start.end(), [&](const auto& one) { return one.first == name; });
    check<FileError>(before != start.end(), "convert: expected the starting factor \"", name, "\", which is missing");
    check<FileError>(before->second.shape() == now.shape(), "convert: ", name, ": expected ", now.shape(), ", got ",
                     before->second.shape());
    const Tensor then = converted(before->second, now.dtype(), Category::workspace);
    const std::int64_t rows = now.dim(0), cols = now.dim(1);
    const Tensor both =
        empty(is_a ? Shape{2 * rows, cols} : Shape{rows, 2 * cols}, now.dtype(), now.device(), Category::workspace);
    on_device(now.device(), [&](auto dev) {
      if (is_a) {
        kernels::copy(dev, now.view(), both.slice(0, rows).mut());
        kernels::copy(dev, then.view(), both.slice(rows, 2 * rows).mut());
      } else {
        kernels::scale(dev, then.view(), -1.0, {then.mut(), false});
        kernels::copy_columns(dev, now.view(), 0, {both.mut(), false}, 0, cols);
        kernels::copy_columns(dev, then.view(), 0, {both.mut(), false}, cols, cols);
      }
    });
    tensors.emplace_back(name, both);
  }
  io::OutputFolder out(folder);
  nn::save_tensors(out.path(), tensors, "adapter_model");
  io::write_file_atomically(out.path() / "adapter_config.json", adapter_config_json(config).dump(2));
  out.commit();
}

}  // namespace osteon::peft
