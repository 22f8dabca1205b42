#pragma once

#include <cmath>

namespace osteon::reference {

inline double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }
inline double swiglu(double gate, double up) { return gate * sigmoid(gate) * up; }
inline double swiglu_dgate(double dy, double gate, double up) {
  const double sg = sigmoid(gate);
  return dy * up * sg * (1 + gate * (1 - sg));
}
inline double swiglu_dup(double dy, double gate) { return dy * gate * sigmoid(gate); }

}  // namespace osteon::reference
