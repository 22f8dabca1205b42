#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// The processes that a launcher (mpirun, srun) started together, numbered from 0: its ranks. Where no launcher started
/// this one, or a build without MPI did, there is one rank, and no function below touches MPI. All are called from the
/// main thread.
namespace osteon::experiments::mpi {

/// Opened at the start of main(), before anything else here; closed at its end. Throws ConfigError in a build without
/// MPI where a launcher started several ranks: each would do all the work and write the same folder.
class Session {
 public:
  Session();
  ~Session();  // NOLINT(performance-trivially-destructible): not so with MPI
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

std::int64_t rank();
std::int64_t size();
/// Counted among the ranks of this machine alone.
std::int64_t local_rank();

/// Ranks that the environment tells of; 1 without a launcher.
std::int64_t launched_ranks();

/// Ends all ranks: where one failed, the others would wait for it for ever. Does nothing where there is only one.
void abort(int status);

/// A short text to another rank, and the oldest one that has come from it, without waiting.
void send_text(std::int64_t to, const std::string& text);
std::optional<std::string> poll_text(std::int64_t from);

/// Starts sending bytes, which must stay as they are until finish_sends(), or a receive() of the same tag;
/// `tag` tells them from others on their way.
void start_send(std::int64_t to, int tag, std::span<const std::byte> bytes);
void finish_sends();
void receive(std::int64_t from, int tag, std::span<std::byte> bytes);

/// Everybody gets rank 0's.
void broadcast(std::span<std::byte> bytes);
double broadcast(double value);
/// Everybody gets the sums over all ranks, each element's the same bits everywhere.
void sum(std::span<float> values);
/// Whether it holds at any rank.
bool any(bool here);
/// What all ranks give, in the order of their numbers.
std::vector<double> gather(std::span<const double> values);

/// Bytes of gradients that this rank has sent so far: by start_send, and by broadcast and sum what the shortest
/// algorithm must send.
std::int64_t bytes_sent();

}  // namespace osteon::experiments::mpi
