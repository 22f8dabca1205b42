// A rank of mpirun that trains on an emulated GPU: gpu_ranks FOLDER writes rank-N.jsonl there, a line for each window.
// gpu_ranks_test.py looks at what they say. `gpu_ranks FOLDER cpu` leaves the last rank without a GPU.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "backends/cuda/emulation/cuda_runtime.hpp"
#include "backends/cuda/emulation/device_code.hpp"
#include "backends/gpu_workspace.hpp"
#include "backends/open_device.hpp"
#include "experiments/mpi/communicator.hpp"
#include "experiments/training/training_window.hpp"
#include "test/peft/tiny_model.hpp"

namespace {

using namespace osteon;
using namespace osteon::experiments;

constexpr int kGpus = 2, kWindows = 2;

int open_gpu() {
  cuda::emulation::set_device_count(kGpus);
  cuda::emulation::launch_mode.every_order = false;
  kernels::set_product_workspace(64 << 10);
  open_device("cuda", mpi::local_rank());
  int gpu = -1;
  cudaGetDevice(&gpu);
  return gpu;
}

/// Of 3 rows, the last ones shorter, and of 1: some rank has none.
StepData window(std::int32_t number) {
  StepData step;
  for (const int rows : {3, 1}) {
    std::vector<Example> examples(static_cast<std::size_t>(rows));
    for (int row = 0; row < rows; ++row)
      for (std::int32_t t = 0; t < 6 - row; ++t) {
        const std::int32_t id = (t * 7 + number * 5 + row * 3) % 24;
        examples[static_cast<std::size_t>(row)].ids.push_back(id);
        examples[static_cast<std::size_t>(row)].labels.push_back(id);
      }
    step.batches.push_back(pad_batch(examples, 0));
  }
  return step;
}

void train(const std::string& method, bool in_order, int gpu, std::ostream& out) {
  const auto model = test::tiny_model(DType::f32);
  model->set_requires_grad(false);
  peft::PeftModel adapted(*model);
  test::disturb(adapted.add(test::tiny_adapter(method)), 3);
  NamedTensors parameters;
  for (const peft::TrainableParameter& parameter : adapted.trainable_parameters())
    parameters.emplace_back(parameter.name, parameter.tensor);
  TrainingWindow training(*model, parameters, true, in_order);
  for (std::int32_t number = 0; number < kWindows; ++number) {
    const TrainingWindow::Result result = training.run(window(number), "window");
    nlohmann::json gradients;
    for (const auto& [name, parameter] : parameters) {
      gradients[name] = parameter.grad().to_doubles();
      parameter.clear_grad();
    }
    out << nlohmann::json{{"gpu", gpu},          {"method", method},    {"in_order", in_order},  {"window", number},
                          {"loss", result.loss}, {"norm", result.norm}, {"gradients", gradients}}
        << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const mpi::Session session;
    try {
      const std::filesystem::path folder = argv[1];
      const int gpu = argc == 3 && mpi::rank() + 1 == mpi::size() ? -1 : open_gpu();
      std::ofstream out(folder / ("rank-" + std::to_string(mpi::rank()) + ".jsonl"));
      for (const char* method : {"lora", "bone", "full"})
        for (const bool in_order : {true, false})
          if (in_order ? std::string(method) != "full" : true)
            train(method, in_order, gpu, out);
      return 0;
    } catch (const std::exception& error) {
      std::cerr << "rank " << mpi::rank() << ": " << error.what() << '\n';
      mpi::abort(1);
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
  }
  return 1;
}
