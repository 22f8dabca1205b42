#include "peft/rwkv_format.hpp"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "backends/error.hpp"
#include "nn/rwkv.hpp"

namespace osteon::peft {
namespace {

constexpr std::array<std::pair<RwkvKind, std::string_view>, 5> kKinds{{{RwkvKind::bone, "bone"},
                                                                       {RwkvKind::bat, "bat"},
                                                                       {RwkvKind::lora, "lora"},
                                                                       {RwkvKind::pissa, "pissa"},
                                                                       {RwkvKind::state, "state"}}};

/// The part after the last dot.
std::string_view suffix_of(std::string_view name) { return name.substr(name.rfind('.') + 1); }

bool is_adapter_suffix(std::string_view suffix) {
  return suffix == "disha" || suffix == "bone" || suffix == "lora_A" || suffix == "lora_B";
}

/// The kind and rank that one tensor speaks for.
std::pair<RwkvKind, std::int64_t> kind_of(const io::TensorEntry& entry, const std::string& where) {
  const Shape& shape = entry.shape;
  if (entry.name.ends_with(".lora_A")) {
    check<FileError>(shape.rank() == 2 && entry.numel > 0, where, ": expected [rank, inputs], found ", shape);
    return {RwkvKind::lora, shape[0]};
  }
  check<FileError>((shape.rank() == 2 || (shape.rank() == 3 && shape[1] == shape[2])) && entry.numel > 0, where,
                   ": expected [rank, outputs] (bone) or [inputs / rank, rank, rank] (bat), found ", shape);
  return shape.rank() == 2 ? std::pair{RwkvKind::bone, shape[0]} : std::pair{RwkvKind::bat, shape[1]};
}

}  // namespace

std::string_view name_of(RwkvKind kind) { return kKinds[static_cast<std::size_t>(kind)].second; }

RwkvKind parse_rwkv_kind(std::string_view name) {
  for (const auto& [kind, known] : kKinds)
    if (known == name)
      return kind;
  fail<ConfigError>("--kind: expected bone, bat, lora, pissa or state, got ", name);
}

RwkvAdapter read_rwkv_adapter(const io::TensorFile& file) {
  RwkvAdapter found;
  const std::string path = file.path().string();
  for (const io::TensorEntry& entry : file.tensors()) {
    const std::string suffix(suffix_of(entry.name));
    const std::string where = path + ": tensor " + entry.name;
    if (entry.name == suffix || !is_adapter_suffix(suffix)) {
      found.full_parameters.push_back(entry.name);
      continue;
    }
    const std::string module = entry.name.substr(0, entry.name.size() - suffix.size() - 1);
    if (suffix == "lora_B") {
      check<FileError>(file.contains(module + ".lora_A"), where, ": expected ", module, ".lora_A beside it");
      continue;
    }
    const auto [kind, rank] = kind_of(entry, where);
    if (suffix == "lora_A") {
      check<FileError>(file.contains(module + ".lora_B"), where, ": expected ", module, ".lora_B beside it");
      const Shape& outer = file.info(module + ".lora_B").shape;
      check<FileError>(outer.rank() == 2 && outer[1] == rank, path, ": tensor ", module, ".lora_B: expected [outputs, ",
                       rank, "], found ", outer);
    }
    if (found.modules.empty())
      std::tie(found.kind, found.rank, found.suffix) = std::tuple(kind, rank, suffix);
    check<FileError>(found.suffix == suffix && found.kind == kind && found.rank == rank, where, ": expected ",
                     name_of(found.kind), " of rank ", found.rank, " (", found.suffix, ") as before, found ",
                     name_of(kind), " of rank ", rank, " (", suffix, ")");
    found.modules.push_back(module);
  }
  if (found.modules.empty() &&
      std::any_of(found.full_parameters.begin(), found.full_parameters.end(), nn::is_time_state))
    found.kind = RwkvKind::state;
  check<FileError>(
      !found.modules.empty() || found.kind == RwkvKind::state, path,
      ": expected an adapter of RWKV-PEFT (.disha, .bone, .lora_A or .time_state tensors), found none among ",
      file.tensors().size());
  return found;
}

}  // namespace osteon::peft
