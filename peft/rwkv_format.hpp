#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nn/io/tensor_file.hpp"
#include "peft/model.hpp"

namespace osteon::peft {

/// What RWKV-PEFT trains, by what its adapter file holds (`rwkv-<epoch>.pth`):
///   bone  `<module>.disha` (older: `.bone`) [r, out]: W[o,i] += D[i mod r, o], r need not divide in
///   bat   the same names [in/r, r, r], one matrix an *input* block: W_ab <- W_ab (I + B_b) + B_b
///   lora  `<module>.lora_A` [r, in], `.lora_B` [out, r]: W += B A alpha/r; PiSSA has the same names
///   pissa the same, with the start in init_pissa.pth: W += B A - B0 A0
///   state `blocks.N.att.time_state` [heads, n, n] alone: parameters that the base gets
enum class RwkvKind : std::uint8_t { bone, bat, lora, pissa, state };

std::string_view name_of(RwkvKind kind);
RwkvKind parse_rwkv_kind(std::string_view name);  ///< ConfigError, naming --kind

struct RwkvAdapter {
  RwkvKind kind = RwkvKind::bone;            ///< lora for PiSSA too: the file alone does not tell them apart
  std::int64_t rank = 0;                     ///< none of a state
  std::string suffix;                        ///< "disha", "bone" or "lora_A"; none of a state
  std::vector<std::string> modules;          ///< "blocks.0.att.key"
  std::vector<std::string> full_parameters;  ///< trained as a whole (train_parts, states): they replace the base's
};

/// FileError where the file holds no adapter, adapters of two kinds or ranks, half a pair, or a shape of no kind.
RwkvAdapter read_rwkv_adapter(const io::TensorFile& file);

/// What an adapter of this config is in such a file. ConfigError naming what has no place there: another method, ranks
/// or alphas of single modules, and PiSSA with an alpha other than its rank.
RwkvKind rwkv_kind_of(const AdapterConfig& config);

/// Writes the active adapter and what trains beside it (train_parts, modules_to_save, biases) under RWKV-PEFT's names.
/// LoRA's alpha is not in such a file: whoever merges it has to say it.
void save_rwkv_adapter(PeftModel& model, const std::filesystem::path& file);

/// Adds the adapter of such a file to a model and makes it active, with what else it holds trained beside it. `alpha`
/// is LoRA's; with `start`, PiSSA's init_pissa.pth, it becomes the LoRA of twice the rank that is equal on the base.
/// FileError where the file is none of the model's.
ModelAdapter& load_rwkv_adapter(PeftModel& model, const std::filesystem::path& file, double alpha,
                                const std::filesystem::path& start = {});

/// Writes PiSSA's start as RWKV-PEFT's init_pissa.pth; `start` by adapter_tensors' names, as save_residual_as_lora.
void save_rwkv_start(PeftModel& model, const NamedTensors& start, const std::filesystem::path& file);

/// Writes the base with the adapter merged, as RWKV-PEFT's merge scripts do but in f32 with one rounding to the base's
/// dtype, tensor by tensor: memory is one weight and its adapter. A weight that the file holds too (train_parts) takes
/// the base's place before its adapter is added. `alpha` is for lora; `start`, PiSSA's init_pissa.pth,
/// is needed for pissa and refused otherwise. FileError for an adapter of another kind, a module or parameter that the
/// base lacks, or shapes that do not fit.
void merge_rwkv(const io::TensorFile& base, const io::TensorFile& adapter, const io::TensorFile* start, RwkvKind kind,
                double alpha, const std::filesystem::path& out);

}  // namespace osteon::peft
