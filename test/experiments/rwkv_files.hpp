#pragma once

#include <filesystem>

#include "nn/io/pretrained.hpp"
#include "test/nn/tiny_rwkv.hpp"

/// Tiny random models of both versions, as files of both kinds.
namespace osteon::test {

inline std::filesystem::path seven_in(const std::filesystem::path& folder) {
  nn::save_rwkv(*tiny_rwkv(7), folder / "seven.pth");
  return folder / "seven.pth";
}
inline std::filesystem::path six_in(const std::filesystem::path& folder) {
  nn::save_rwkv(*tiny_rwkv(6), folder / "six.safetensors");
  return folder / "six.safetensors";
}

}  // namespace osteon::test
