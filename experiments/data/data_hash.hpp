#pragma once

#include <string>

#include "experiments/config/config.hpp"

namespace osteon::experiments {

/// What `config.data`, `eval_data` and `retain_data` hold, as 16 hexadecimal digits of 64-bit FNV-1a: a file's bytes,
/// or the held-out items of an embedded task (of each skill, for the mixture) and the first that a seed draws for
/// training, which stand for its code. Two runs with equal hashes were given the same data, whatever it is called and
/// wherever it lies. FileError for a file that cannot be read.
std::string data_hash(const RunConfig& config);

}  // namespace osteon::experiments
