#include <cmath>
#include <string>
#include <unordered_set>
#include <vector>

#include "backends/dtype.hpp"
#include "backends/error.hpp"
#include "nn/rwkv.hpp"
#include "peft/rwkv_format.hpp"

namespace osteon::peft {
namespace {

using Floats = std::vector<float>;

Floats read(const io::TensorFile& file, const std::string& name, const Shape& expected) {
  const Shape& shape = file.info(name).shape;
  check<FileError>(shape == expected, file.path().string(), ": tensor ", name, ": expected ", expected, ", found ",
                   shape);
  Floats values(static_cast<std::size_t>(shape.numel()));
  file.read_into(name, values.data(), DType::f32);
  return values;
}

/// W[o,:] += scale * sum_j B[o,j] A[j,:]
void add_product(Floats& weight, const Floats& outer, const Floats& inner, std::int64_t rank, float scale) {
  const std::int64_t inputs = static_cast<std::int64_t>(inner.size()) / rank;
  const std::int64_t outputs = static_cast<std::int64_t>(outer.size()) / rank;
  for (std::int64_t o = 0; o < outputs; ++o) {
    float* row = weight.data() + o * inputs;
    for (std::int64_t j = 0; j < rank; ++j) {
      const float factor = scale * outer[static_cast<std::size_t>(o * rank + j)];
      const float* added = inner.data() + j * inputs;
      for (std::int64_t i = 0; i < inputs; ++i)
        row[i] += factor * added[i];
    }
  }
}

/// W[o,i] += D[i mod r, o]
void add_bone(Floats& weight, const Floats& bone, std::int64_t rank, std::int64_t outputs) {
  const std::int64_t inputs = static_cast<std::int64_t>(weight.size()) / outputs;
  for (std::int64_t o = 0; o < outputs; ++o)
    for (std::int64_t i = 0; i < inputs; ++i)
      weight[static_cast<std::size_t>(o * inputs + i)] += bone[static_cast<std::size_t>(i % rank * outputs + o)];
}

/// W_ab <- W_ab (I + B_b) + B_b, blocks of r by r, a over the outputs and b over the inputs.
void add_bat(Floats& weight, const Floats& bat, std::int64_t rank, std::int64_t inputs) {
  const std::int64_t outputs = static_cast<std::int64_t>(weight.size()) / inputs;
  for (std::int64_t o = 0; o < outputs; ++o)
    for (std::int64_t first = 0; first < inputs; first += rank) {
      float* row = weight.data() + o * inputs + first;
      const float* block = bat.data() + first * rank;
      const Floats before(row, row + rank);
      for (std::int64_t j = 0; j < rank; ++j)
        row[j] += block[o % rank * rank + j];
      for (std::int64_t m = 0; m < rank; ++m)
        for (std::int64_t j = 0; j < rank; ++j)
          row[j] += before[static_cast<std::size_t>(m)] * block[m * rank + j];
    }
}

struct Merge {
  const io::TensorFile& base;
  const io::TensorFile& adapter;
  const io::TensorFile* start;
  RwkvKind kind;
  float scale;
  RwkvAdapter layout;

  /// RWKV-PEFT writes init_pissa.pth with "model." before the names; its older scripts without.
  std::string start_name(const std::string& module, const std::string& part) const {
    const std::string name = module + ".init_" + part;
    return start->contains("model." + name) ? "model." + name : name;
  }

  /// Where the shape alone shows it: Bat as Hugging Face has it.
  void check_layout(const std::string& module, const Shape& weight) const {
    const std::string name = module + "." + layout.suffix;
    const Shape& shape = adapter.info(name).shape;
    check<FileError>(weight[0] == weight[1] || shape[0] != weight[0] / layout.rank, adapter.path().string(),
                     ": tensor ", name, ": expected a matrix an input block, ",
                     Shape{weight[1] / layout.rank, layout.rank, layout.rank}, ", found ", shape,
                     ", one an output block: Hugging Face's layout, which means another weight");
  }

  Floats merged(const std::string& module) const {
    const std::string name = module + ".weight";
    const Shape& shape = base.info(name).shape;
    check<FileError>(shape.rank() == 2, base.path().string(), ": tensor ", name, ": expected a matrix, found ", shape);
    const std::int64_t outputs = shape[0], inputs = shape[1], rank = layout.rank;
    Floats weight = read(adapter.contains(name) ? adapter : base, name, shape);
    if (kind == RwkvKind::bone) {
      add_bone(weight, read(adapter, module + "." + layout.suffix, {rank, outputs}), rank, outputs);
    } else if (kind == RwkvKind::bat) {
      check<FileError>(inputs % rank == 0 && outputs % rank == 0, base.path().string(), ": tensor ", name,
                       ": expected sizes that rank ", rank, " divides, found ", shape);
      check_layout(module, shape);
      add_bat(weight, read(adapter, module + "." + layout.suffix, {inputs / rank, rank, rank}), rank, inputs);
    } else {
      if (kind == RwkvKind::pissa)
        add_product(weight, read(*start, start_name(module, "lora_B"), {outputs, rank}),
                    read(*start, start_name(module, "lora_A"), {rank, inputs}), rank, -1.0F);
      add_product(weight, read(adapter, module + ".lora_B", {outputs, rank}),
                  read(adapter, module + ".lora_A", {rank, inputs}), rank, scale);
    }
    return weight;
  }

  void check_targets() const {
    check<ConfigError>((kind == RwkvKind::pissa) == (start != nullptr), "--start: expected init_pissa.pth with --kind ",
                       "pissa and no file with another kind, got ", start == nullptr ? "none" : "one", " with --kind ",
                       name_of(kind));
    const bool fits = kind == layout.kind || (kind == RwkvKind::pissa && layout.kind == RwkvKind::lora);
    check<ConfigError>(fits, adapter.path().string(), ": --kind: expected the file's own, ", name_of(layout.kind),
                       layout.kind == RwkvKind::lora ? " or pissa" : "", ", got ", name_of(kind));
    for (const std::string& module : layout.modules)
      check<FileError>(base.contains(module + ".weight"), base.path().string(), ": no ", module,
                       ".weight, which the adapter ", adapter.path().string(), " changes");
    for (const std::string& name : layout.full_parameters)
      if (nn::is_time_state(name))
        check_state(name);
      else
        check<FileError>(base.contains(name) && base.info(name).shape == adapter.info(name).shape,
                         adapter.path().string(), ": tensor ", name, ": expected a parameter of the base ",
                         base.path().string(), ", of the same shape");
  }

  /// The base need not have a state, but a layer of as many heads.
  void check_state(const std::string& name) const {
    const std::string layer = name.substr(0, name.size() - nn::kTimeState.size());
    const std::string seven = layer + "att.r_k", six = layer + "att.time_faaaa";
    const std::string& heads = base.contains(seven) ? seven : six;
    check<FileError>(base.contains(heads), base.path().string(), ": neither ", seven, " (RWKV-7) nor ", six,
                     " (RWKV-6), to which ", name, " of ", adapter.path().string(), " would belong");
    const Shape &shape = adapter.info(name).shape, &of = base.info(heads).shape;
    check<FileError>(of.rank() == 2 && shape == Shape{of[0], of[1], of[1]}, adapter.path().string(), ": tensor ", name,
                     ": expected [heads, n, n] of the base's ", heads, ' ', of, ", found ", shape);
  }

  /// The base's tensors, and the states that it lacks.
  std::vector<io::TensorToWrite> tensors() const {
    std::vector<io::TensorToWrite> all = io::tensors_of(base);
    for (const std::string& name : layout.full_parameters)
      if (!base.contains(name))
        all.push_back({name, io::FileDType::f32, adapter.info(name).shape, {}});
    return all;
  }
};

}  // namespace

void merge_rwkv(const io::TensorFile& base, const io::TensorFile& adapter, const io::TensorFile* start, RwkvKind kind,
                double alpha, const std::filesystem::path& out) {
  check<ConfigError>(std::isfinite(alpha), "--alpha: expected a finite number, got ", alpha);
  Merge merge{base, adapter, start, kind, 1.0F, read_rwkv_adapter(adapter)};
  merge.check_targets();
  if (kind == RwkvKind::lora)
    merge.scale = static_cast<float>(alpha / static_cast<double>(merge.layout.rank));
  std::unordered_set<std::string> adapted,
      replaced(merge.layout.full_parameters.begin(), merge.layout.full_parameters.end());
  for (const std::string& module : merge.layout.modules)
    adapted.insert(module + ".weight");

  std::vector<io::TensorToWrite> tensors = merge.tensors();
  Floats weight;
  std::vector<bf16> rounded;
  for (io::TensorToWrite& tensor : tensors) {
    const bool is_adapted = adapted.contains(tensor.name);
    if (!is_adapted && !replaced.contains(tensor.name))
      continue;
    // f16 has no rounding here: what changes is written wider. States are sums, f32 in every model.
    if (tensor.dtype != io::FileDType::bf16 || nn::is_time_state(tensor.name))
      tensor.dtype = io::FileDType::f32;
    tensor.bytes = [&, is_adapted, name = tensor.name, dtype = tensor.dtype] {
      weight =
          is_adapted ? merge.merged(name.substr(0, name.size() - 7)) : read(adapter, name, adapter.info(name).shape);
      if (dtype == io::FileDType::f32)
        return std::as_bytes(std::span(weight));
      rounded.clear();
      for (const float value : weight)
        rounded.emplace_back(value);
      return std::as_bytes(std::span(rounded));
    };
  }
  io::write_tensor_file(out, tensors);
}

}  // namespace osteon::peft
