#include "backends/error.hpp"
#include "backends/kernels/elementwise.hpp"
#include "nn/io/checkpoint.hpp"
#include "nn/rwkv.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::peft {
namespace {

Tensor read(const io::ModelFiles& files, const std::string& name, const Tensor& like) {
  const Tensor read = empty(files.info(name).shape, like.dtype(), like.device(), Category::workspace);
  nn::read_tensor(files, name, read);
  return read;
}

/// A = [A; A0], B = [B, -B0]: W + B A - B0 A0 as a LoRA of twice the rank on the base itself.
void fill_pissa(const std::string& module, const Adapter& lora, const io::ModelFiles& files,
                const io::ModelFiles& start) {
  const std::string begun = (start.contains("model." + module + ".init_lora_A") ? "model." : "") + module;
  const Tensor a = lora.parameter("lora_A.weight"), b = lora.parameter("lora_B.weight");
  const std::int64_t rank = a.dim(0) / 2;
  const Tensor now_a = read(files, module + ".lora_A", a), now_b = read(files, module + ".lora_B", b);
  const Tensor then_a = read(start, begun + ".init_lora_A", a), then_b = read(start, begun + ".init_lora_B", b);
  for (const auto& [factor, shape] :
       {std::pair(now_a, Shape{rank, a.dim(1)}), std::pair(then_a, Shape{rank, a.dim(1)}),
        std::pair(now_b, Shape{b.dim(0), rank}), std::pair(then_b, Shape{b.dim(0), rank})})
    check<FileError>(factor.shape() == shape, files.path().string(), " and ", start.path().string(), ": ", module,
                     ": expected factors of rank ", rank, " for a weight ", Shape{b.dim(0), a.dim(1)}, ", found ",
                     factor.shape());
  on_device(a.device(), [&](auto dev) {
    kernels::copy(dev, now_a.view(), a.slice(0, rank).mut());
    kernels::copy(dev, then_a.view(), a.slice(rank, 2 * rank).mut());
    kernels::scale(dev, then_b.view(), -1.0, {then_b.mut(), false});
    kernels::copy_columns(dev, now_b.view(), 0, {b.mut(), false}, 0, rank);
    kernels::copy_columns(dev, then_b.view(), 0, {b.mut(), false}, rank, rank);
  });
}

AdapterConfig config_of(const RwkvAdapter& found, double alpha, bool pissa) {
  AdapterConfig config;
  if (found.kind == RwkvKind::state) {
    config.method = "state";
    for (const std::string& parameter : found.full_parameters)
      if (!nn::is_time_state(parameter))
        config.train_parts.push_back(parameter);
    return config;
  }
  config.method = found.kind == RwkvKind::bone ? "bone" : found.kind == RwkvKind::bat ? "bat_row" : "lora";
  config.rank = pissa ? 2 * found.rank : found.rank;
  config.alpha = pissa ? static_cast<double>(config.rank) : alpha;
  config.target_modules = found.modules;
  config.train_parts = found.full_parameters;
  return config;
}

}  // namespace

ModelAdapter& load_rwkv_adapter(PeftModel& model, const std::filesystem::path& file, double alpha,
                                const std::filesystem::path& start) {
  const io::ModelFiles files(file);
  const RwkvAdapter found = read_rwkv_adapter(files.files()[0]);
  const bool pissa = !start.empty();
  check<ConfigError>(!pissa || found.kind == RwkvKind::lora, "--start: expected none with ", file.string(),
                     ", an adapter of ", name_of(found.kind));
  const AdapterConfig config = config_of(found, alpha, pissa);
  const auto added = [&](PeftModel& to) -> ModelAdapter& {
    ModelAdapter* adapter = nullptr;
    try {
      adapter = &to.add(config, "default", /*initialise=*/false);
    } catch (const ConfigError& error) {
      fail<FileError>(file.string(), ": ", error.what());
    }
    check<FileError>(adapter->modules.size() == found.modules.size() &&
                         adapter->saved_modules.size() == found.full_parameters.size(),
                     file.string(), ": expected ", found.modules.size(), " adapted linears and ",
                     found.full_parameters.size(), " whole parameters in the model, found ", adapter->modules.size(),
                     " and ", adapter->saved_modules.size());
    return *adapter;
  };
  const auto in_file = [&](const ModelAdapter& adapter) {
    NamedTensors tensors;
    for (const auto& [module, one] : adapter.modules)
      for (const auto& [suffix, tensor] : one->parameters())
        if (!pissa)
          tensors.emplace_back(
              join(module, '.', suffix.ends_with("_block") ? found.suffix : suffix.substr(0, suffix.find('.'))),
              tensor);
    for (const auto& [parameter, tensor] : adapter.saved_modules)
      tensors.emplace_back(parameter, tensor);
    return tensors;
  };
  {
    // On a model without memory first, as load_adapter.
    const std::unique_ptr<nn::LanguageModel> shapes = model.model().on_meta();
    PeftModel plan(*shapes);
    nn::check_tensors(files, in_file(added(plan)));
  }
  ModelAdapter& adapter = added(model);
  if (model.model().device() == Device::meta)
    return adapter;
  for (const auto& [name, tensor] : in_file(adapter))
    nn::read_tensor(files, name, tensor);
  if (pissa) {
    const io::ModelFiles begun(start);
    for (const auto& [module, one] : adapter.modules)
      fill_pissa(module, *one, files, begun);
  }
  return adapter;
}

}  // namespace osteon::peft
