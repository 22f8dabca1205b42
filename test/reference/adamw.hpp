#pragma once

#include <cmath>

namespace osteon::reference {

struct Adamw {
  double parameter, m, v;
};

/// One step of AdamW (arXiv:1711.05101, algorithm 2, decay multiplied by the learning rate as in torch).
inline Adamw adamw(Adamw s, double gradient, double lr, double beta1, double beta2, double eps, double weight_decay,
                   double step) {
  s.parameter -= lr * weight_decay * s.parameter;
  s.m = beta1 * s.m + (1 - beta1) * gradient;
  s.v = beta2 * s.v + (1 - beta2) * gradient * gradient;
  const double m_hat = s.m / (1 - std::pow(beta1, step)), v_hat = s.v / (1 - std::pow(beta2, step));
  s.parameter -= lr * m_hat / (std::sqrt(v_hat) + eps);
  return s;
}

}  // namespace osteon::reference
