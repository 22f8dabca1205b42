#include "experiments/training/run_state.hpp"

#include <nlohmann/json.hpp>

#include "nn/io/atomic_file.hpp"
#include "nn/io/checkpoint.hpp"

namespace osteon::experiments {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

NamedTensors trainable(peft::PeftModel& model) {
  NamedTensors all;
  for (const peft::TrainableParameter& parameter : model.trainable_parameters())
    all.emplace_back(parameter.name, parameter.tensor);
  return all;
}

/// Base weights that the active method changed when it was made (PiSSA's residual).
NamedTensors changed_base(peft::PeftModel& model) {
  NamedTensors all;
  if (model.active().empty() || !model.adapter(model.active()).method->changes_base())
    return all;
  for (nn::Linear* linear : model.model().linears())
    if (model.adapter(model.active()).modules.contains(linear->name()))
      all.emplace_back(linear->name() + ".weight", linear->weight);
  return all;
}

json read_json(const fs::path& path) {
  try {
    return json::parse(io::read_file(path));
  } catch (const json::exception& error) {
    fail<FileError>(path.string(), ": expected JSON (", error.what(), ")");
  }
}

template <class T>
T field(const json& file, const char* key, const fs::path& path) {
  try {
    return file.at(key).get<T>();
  } catch (const json::exception&) {
    fail<FileError>(path.string(), ": ", key, ": missing, or of the wrong type");
  }
}

}  // namespace

void save_run_state(const fs::path& folder, const RunState& state, peft::PeftModel& model, const nn::AdamW& optimizer) {
  io::AtomicFolder checkpoint(folder);
  nn::write_tensors(checkpoint.path() / "trainable.safetensors", trainable(model));
  nn::write_tensors(checkpoint.path() / "optimizer.safetensors", optimizer.state());
  if (const NamedTensors base = changed_base(model); !base.empty())
    nn::write_tensors(checkpoint.path() / "base.safetensors", base);
  json file = {{"step", state.step},
               {"epoch", state.stream.epoch},
               {"position", state.stream.position},
               {"batch_hash", state.stream.hash},
               {"tokens", state.tokens},
               {"train_seconds", state.train_seconds},
               {"evaluations_without_gain", state.evaluations_without_gain},
               {"config_hash", state.config_hash},
               {"data_hash", state.data_hash}};
  file["last_loss"] = state.last_loss ? json(*state.last_loss) : json();
  file["best_loss"] = state.best_loss ? json(*state.best_loss) : json();
  io::write_file_atomically(checkpoint.path() / "state.json", file.dump(2));
  checkpoint.commit();
}

RunState read_run_state(const fs::path& folder) {
  const fs::path path = folder / "state.json";
  const json file = read_json(path);
  RunState state;
  state.step = field<std::int64_t>(file, "step", path);
  state.stream = {field<std::int64_t>(file, "epoch", path), field<std::int64_t>(file, "position", path),
                  field<std::uint64_t>(file, "batch_hash", path)};
  state.tokens = field<std::int64_t>(file, "tokens", path);
  state.train_seconds = field<double>(file, "train_seconds", path);
  state.evaluations_without_gain = field<std::int64_t>(file, "evaluations_without_gain", path);
  state.config_hash = field<std::string>(file, "config_hash", path);
  state.data_hash = field<std::string>(file, "data_hash", path);
  if (file.contains("last_loss") && !file["last_loss"].is_null())
    state.last_loss = field<double>(file, "last_loss", path);
  if (file.contains("best_loss") && !file["best_loss"].is_null())
    state.best_loss = field<double>(file, "best_loss", path);
  return state;
}

RunState load_run_state(const fs::path& folder, peft::PeftModel& model, nn::AdamW& optimizer) {
  const RunState state = read_run_state(folder);
  nn::load_tensors(io::ModelFiles(folder / "trainable.safetensors"), trainable(model));
  nn::load_tensors(io::ModelFiles(folder / "optimizer.safetensors"), optimizer.state());
  if (const NamedTensors base = changed_base(model); !base.empty())
    nn::load_tensors(io::ModelFiles(folder / "base.safetensors"), base);
  optimizer.set_steps(state.step);
  return state;
}

}  // namespace osteon::experiments
