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

/// One distinct product of a roof.
struct RoofRow {
  Product product;
  std::int64_t count;   ///< times a step
  bool adapter;         ///< of the adapter, else of the base
  double front;         ///< seconds of one through what a step runs: bit-stable
  double best;          ///< seconds of one through the fastest engine
  const char* fastest;  ///< which that is
};

/// The roof of a training step: its matrix products alone, each with the fastest engine at hand, on operands that stay
/// where they are. Engines: the GEMM front as it is, the front with any kernel of the library (set_deterministic_gemm
/// off: before AVX-512 that is oneDNN instead of our own tiles), and, for sums over tokens, one undivided product.
/// Bat's products with blocks: its own kernels, and the GEMM front on a block a thread. On a GPU the front is cuBLAS
/// and there is no other engine but one undivided product.
///
/// Times are medians over samples, so that a machine that drifts does to the roof what it does to the steps between
/// which samples are taken. On a processor with AMX the front multiplies bf16 on it; oneDNN does not, if
/// a step ran before: it decides once in a process.
class Roof {
 public:
  explicit Roof(StepProducts products);

  /// Times every distinct product once through every engine.
  void sample();
  /// At least one sample has been taken.
  RoofTimes times() const;
  /// Every product, those that take most of a step first.
  std::vector<RoofRow> rows() const;

 private:
  enum class Engine { front, fastest, undivided };

  void run(const Product& product, Engine engine);
  void run_one(const Product& product, Engine engine, std::int64_t part);
  void run_blocks(const Product& product);
  /// Whether there is such an engine for this product on the device that is open.
  static bool applies(const Product& product, Engine engine);
  void warm_up(const Product& product, Engine engine);
  double seconds(const Product& product, Engine engine);
  /// The median of an engine's samples.
  double typical(const Product& product, Engine engine) const;

  StepProducts products_;
  std::map<DType, Buffer> a_, b_, c_;  ///< large enough for every product
  std::map<std::pair<Product, Engine>, std::vector<double>> samples_;
};

}  // namespace osteon::bench
