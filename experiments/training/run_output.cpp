#include "experiments/training/run_output.hpp"

#include "nn/io/checkpoint.hpp"
#include "nn/io/output_folder.hpp"
#include "peft/convert.hpp"
#include "peft/hf_format.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::experiments {

namespace fs = std::filesystem;

StartingFactors::StartingFactors(LoadedModel& loaded, const RunConfig& config) {
  if (config.out.empty() || !config.adapter.empty() || !loaded.adapted->adapter().method->changes_base())
    return;
  file_ = fs::path(config.out) / "start.safetensors";
  nn::write_tensors(file_, peft::adapter_tensors(*loaded.adapted));
}

StartingFactors::~StartingFactors() {
  std::error_code error;
  if (exist())
    fs::remove(file_, error);  // a resumed run makes them again
}

NamedTensors StartingFactors::read(LoadedModel& loaded) const {
  NamedTensors start;
  for (const auto& [name, now] : peft::adapter_tensors(*loaded.adapted))
    start.emplace_back(name, empty(now.shape(), now.dtype(), now.device(), Category::workspace));
  nn::load_tensors(io::ModelFiles(file_), start);
  return start;
}

namespace {

void save_as_rwkv_peft(LoadedModel& loaded, const StartingFactors& start, const fs::path& folder) {
  io::OutputFolder out(folder);
  peft::save_rwkv_adapter(*loaded.adapted, out.path() / "adapter.pth");
  if (start.exist())
    peft::save_rwkv_start(*loaded.adapted, start.read(loaded), out.path() / "init_pissa.pth");
  out.commit();
}

}  // namespace

void save_result(LoadedModel& loaded, const RunConfig& config, const StartingFactors& start, const fs::path& folder,
                 std::optional<DType> dtype) {
  if (!loaded.adapted->adapter().method->keeps_base()) {
    io::OutputFolder out(folder / "model");
    save_model(loaded, out.path(), dtype);
    loaded.tokenizer->save(out.path());
    out.commit();
  } else if (start.exist()) {
    peft::save_residual_as_lora(*loaded.adapted, start.read(loaded), folder / "adapter");
  } else {
    peft::save_adapter(*loaded.adapted, folder / "adapter");
  }
  if (config.rwkv_peft)
    save_as_rwkv_peft(loaded, start, folder / "rwkv-peft");
}

}  // namespace osteon::experiments
