#pragma once

#include <memory>
#include <string>

#include "backends/kernels/elementwise.hpp"
#include "backends/kernels/random.hpp"
#include "nn/rwkv6.hpp"
#include "nn/rwkv7.hpp"

namespace osteon::test {

/// A random model of version 6 or 7, small enough to train in milliseconds.
inline std::unique_ptr<nn::Rwkv> tiny_rwkv(int version, std::int64_t vocab_size = 256, std::int64_t layers = 2,
                                           DType dtype = DType::f32) {
  const auto with_sizes = [&](auto config) {
    config.vocab_size = vocab_size;
    config.hidden_size = 32;
    config.intermediate_size = 64;
    config.num_hidden_layers = layers;
    config.heads = 2;
    return config;
  };
  std::unique_ptr<nn::Rwkv> model;
  if (version == 6) {
    nn::Rwkv6Config config = with_sizes(nn::Rwkv6Config{});
    config.mix_rank = config.decay_rank = 8;
    model = std::make_unique<nn::Rwkv6>(config, dtype);
  } else {
    nn::Rwkv7Config config = with_sizes(nn::Rwkv7Config{});
    config.decay_rank = config.rate_rank = config.value_rank = config.gate_rank = 8;
    model = std::make_unique<nn::Rwkv7>(config, dtype);
  }
  std::uint64_t index = 0;
  model->visit([&](const std::string& name, Tensor& parameter) {
    const RandomKey key = RandomKey{7, 0}.split(index++);
    const bool scale = name.find("ln") != std::string::npos && name.ends_with(".weight");
    kernels::fill_normal(Cpu{}, parameter.mut(), scale ? 1.0 : 0.0, scale ? 0.0 : 0.2, key);
  });
  return model;
}

}  // namespace osteon::test
