// What communicator.hpp is in a build without MPI: one rank.
#include "backends/error.hpp"
#include "experiments/mpi/communicator.hpp"

namespace osteon::experiments::mpi {

Session::Session() {
  check<ConfigError>(launched_ranks() == 1, "started as one of ", launched_ranks(),
                     " ranks, but this build has no MPI: build with meson's -Dmpi=enabled (libopenmpi-dev)");
}
Session::~Session() = default;

std::int64_t rank() { return 0; }
std::int64_t size() { return 1; }
std::int64_t local_rank() { return 0; }
void abort(int /*status*/) {}
void send_text(std::int64_t /*to*/, const std::string& /*text*/) {}
std::optional<std::string> poll_text(std::int64_t /*from*/) { return std::nullopt; }
void start_send(std::int64_t /*to*/, int /*tag*/, std::span<const std::byte> /*bytes*/) {}
void finish_sends() {}
void receive(std::int64_t /*from*/, int /*tag*/, std::span<std::byte> /*bytes*/) {}
void broadcast(std::span<std::byte> /*bytes*/) {}
double broadcast(double value) { return value; }
void sum(std::span<float> /*values*/) {}
bool any(bool here) { return here; }
std::vector<double> gather(std::span<const double> values) { return {values.begin(), values.end()}; }
std::int64_t bytes_sent() { return 0; }

}  // namespace osteon::experiments::mpi
