#include <algorithm>
#include <cstdlib>

#include "experiments/mpi/communicator.hpp"

namespace osteon::experiments::mpi {

std::int64_t launched_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"})
    if (const char* text = std::getenv(name))
      return std::max<std::int64_t>(1, std::atoll(text));
  return 1;
}

}  // namespace osteon::experiments::mpi
