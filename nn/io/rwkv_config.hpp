#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"

namespace osteon::nn {

/// Gives a model of `shared` vocabulary, width, layers and heads the other sizes that RWKV's authors give it:
///   RWKV-7   channel mixing of 4 C channels; low ranks 1.8, 1.8, 1.3 C^0.5 (decay, rate, value) and 0.6 C^0.8 (gate),
///            each to the nearest multiple of 32
///   RWKV-6   channel mixing of 3.5 C, down to a multiple of 32; low ranks 32 (mix) and 64 (decay), twice that from
///            4096 channels on
template <class Config>
Config with_usual_sizes(const RwkvConfig& shared);
template <>
Rwkv7Config with_usual_sizes(const RwkvConfig& shared);
template <>
Rwkv6Config with_usual_sizes(const RwkvConfig& shared);

/// The sizes of an RWKV model of either version, which config.json of a folder tells of a model that is to be drawn:
///   model_type                                          rwkv6 or rwkv7
///   vocab_size, hidden_size, num_hidden_layers
///   head_dim                                            64 where it is not there
///   intermediate_size, decay_low_rank_dim; of RWKV-7 a_low_rank_dim, v_low_rank_dim, gate_low_rank_dim; of RWKV-6
///   mix_low_rank_dim                                    with_usual_sizes where they are not there
/// Keys are those of flash-linear-attention where it has one.
using AnyRwkvConfig = std::variant<Rwkv6Config, Rwkv7Config>;

/// Whether a folder holds an RWKV model, or the config of one: a "model_type" that begins with rwkv, or model.pth.
bool is_rwkv_folder(const std::filesystem::path& folder);

/// FileError names file, key, expected and found; keys that are not known go to `warnings` if given.
AnyRwkvConfig read_rwkv_config_json(const std::filesystem::path& folder, std::vector<std::string>* warnings = nullptr);
/// Writes the config.json that read_rwkv_config_json reads back.
void write_rwkv_config_json(const std::filesystem::path& folder, const Rwkv& model);

/// A model of these sizes; parameters are allocated, not initialised.
std::unique_ptr<Rwkv> make_rwkv(const AnyRwkvConfig& config, DType dtype, Device device = default_device());

}  // namespace osteon::nn
