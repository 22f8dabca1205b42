// Reading a model from a Hugging Face folder of safetensors: load/<shape>/<dtype of the file>/<dtype of the model>.
// The folder is written first, below the system's folder for temporary files, so it is read from the system's cache.
// Without --benchmark_filter only nano and small run (see bench_step.cpp).
// Counters: bytes_per_second of the file; model_bytes; peak_over_model_bytes, the allocator's highest total above the
// model's own bytes, and rss_over_model_bytes, the process's: near 0, since weights are read straight into place.
#include <filesystem>
#include <unistd.h>

#include "bench/main.hpp"
#include "bench/process_memory.hpp"
#include "bench/training_step.hpp"
#include "nn/io/pretrained.hpp"

namespace osteon::bench {
namespace {

namespace fs = std::filesystem;

/// A folder of this process that goes with it.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(fs::temp_directory_path() / join("osteon-bench-load-", getpid())) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void load(benchmark::State& state, const ModelShape& shape, DType file_dtype, DType dtype) {
  const TemporaryFolder folder;
  std::int64_t parameters = 0;
  {
    nn::Llama model(model_config(shape), file_dtype);
    model.initialize(1);
    nn::save_llama(model, folder.path());
    parameters = model.parameter_count();
  }
  ResidentPeak resident;
  reset_memory_peak(default_device());
  const std::int64_t before = memory_report(default_device()).live.total();
  for (auto _ : state) {
    benchmark::DoNotOptimize(nn::load_llama(folder.path(), dtype));
    finish(default_device());
  }
  const std::int64_t model_bytes = parameters * size_of(dtype);
  const std::int64_t peak = memory_report(default_device()).peak.total() - before;
  state.SetBytesProcessed(state.iterations() * parameters * size_of(file_dtype));
  state.counters["model_bytes"] = static_cast<double>(model_bytes);
  state.counters["peak_over_model_bytes"] = static_cast<double>(peak - model_bytes);
  if (const auto rss = resident.bytes())
    state.counters["rss_over_model_bytes"] = static_cast<double>(*rss - model_bytes);
}

void register_all() {
  for (const ModelShape& shape : kShapes)
    for (const DType file_dtype : {DType::f32, DType::bf16})
      for (const DType dtype : {DType::f32, DType::bf16})
        benchmark::RegisterBenchmark(join("load/", shape.name, '/', file_dtype, '/', dtype).c_str(),
                                     [=](benchmark::State& state) { load(state, shape, file_dtype, dtype); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace osteon::bench

int main(int argc, char** argv) {
  osteon::bench::register_all();
  return osteon::bench::run(argc, argv, "/(nano|small)/");
}
