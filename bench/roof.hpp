#pragma once

#include <map>
#include <utility>
#include <vector>

#include "bench/buffer.hpp"
#include "bench/step_products.hpp"

namespace osteon::bench {

/// Seconds that a step's products take by themselves.
struct RoofTimes {
  double wide = 0;          ///< every product at its own best, but the adapter's at the mean rate of the base's
  double own = 0;           ///< every product at its own best
  double front = 0;         ///< every product as the step runs it: by the GEMM front with bit-stable engines only
  double base_rate = 0;     ///< FLOP/s of the base's products
  double adapter_rate = 0;  ///< FLOP/s of the adapter's, each at its own best; 0 if there are none
};

/// The roof of a training step: its matrix products alone, each with the fastest engine at hand, on operands that stay
/// where they are. Engines: the GEMM front as it is, the front with any kernel of the library (set_deterministic_gemm
/// off: before AVX-512 that is oneDNN instead of our own tiles), and, for sums over tokens, one undivided product.
///
/// Times are medians over samples, so that a machine that drifts does to the roof what it does to the steps between
/// which samples are taken. On a processor with AMX the roof is that of AVX-512, if a step ran before: oneDNN decides
/// once in a process.
class Roof {
 public:
  explicit Roof(StepProducts products);

  /// Times every distinct product once through every engine.
  void sample();
  /// At least one sample has been taken.
  RoofTimes times() const;

 private:
  enum class Engine { front, fastest, undivided };
  static constexpr Engine kEngines[] = {Engine::front, Engine::fastest, Engine::undivided};

  void run(const Product& product, Engine engine);
  double seconds(const Product& product, Engine engine);
  /// The median of an engine's samples, and the least over all engines.
  double typical(const Product& product, Engine engine) const;
  double best(const Product& product) const;

  StepProducts products_;
  std::map<DType, Buffer> a_, b_, c_;  ///< large enough for every product
  std::map<std::pair<Product, Engine>, std::vector<double>> samples_;
};

}  // namespace osteon::bench
