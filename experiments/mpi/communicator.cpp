#include "experiments/mpi/communicator.hpp"

#include <algorithm>
#include <map>
#define OMPI_SKIP_MPICXX 1  // the C interface alone
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <numeric>

#include "backends/error.hpp"

namespace osteon::experiments::mpi {
namespace {

// MPI counts in int; pieces also bound what an all-reduce buffers.
constexpr std::size_t kMostAtOnce = std::size_t{1} << 24;
constexpr int kTextTag = 0, kFirstDataTag = 1;

int own_rank = 0, ranks = 1, own_local_rank = 0;
std::int64_t sent = 0;
std::map<int, std::vector<MPI_Request>> sends;  // by tag

void finish(std::vector<MPI_Request>& requests) {
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  requests.clear();
}

/// MPI's own handler ends all ranks with its message, so nothing that returns has failed.
template <class F>
void pieces(std::size_t count, F&& f) {
  for (std::size_t begin = 0; begin < count; begin += kMostAtOnce)
    f(begin, static_cast<int>(std::min(kMostAtOnce, count - begin)));
}

}  // namespace

Session::Session() {
  if (launched_ranks() == 1)
    return;
  int level = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
  check<Error>(level >= MPI_THREAD_FUNNELED, "MPI: expected one that allows for threads, got level ", level);
  MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  MPI_Comm machine;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, own_rank, MPI_INFO_NULL, &machine);
  MPI_Comm_rank(machine, &own_local_rank);
  MPI_Comm_free(&machine);
}

Session::~Session() {
  if (ranks > 1)
    MPI_Finalize();
}

std::int64_t rank() { return own_rank; }
std::int64_t size() { return ranks; }
std::int64_t local_rank() { return own_local_rank; }

void abort(int status) {
  if (ranks > 1)
    MPI_Abort(MPI_COMM_WORLD, status);
}

void send_text(std::int64_t to, const std::string& text) {
  MPI_Send(text.data(), static_cast<int>(text.size()), MPI_CHAR, static_cast<int>(to), kTextTag, MPI_COMM_WORLD);
}

std::optional<std::string> poll_text(std::int64_t from) {
  int there = 0, count = 0;
  MPI_Status status;
  MPI_Iprobe(static_cast<int>(from), kTextTag, MPI_COMM_WORLD, &there, &status);
  if (there == 0)
    return std::nullopt;
  MPI_Get_count(&status, MPI_CHAR, &count);
  std::string text(static_cast<std::size_t>(count), '\0');
  MPI_Recv(text.data(), count, MPI_CHAR, static_cast<int>(from), kTextTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  return text;
}

void start_send(std::int64_t to, int tag, std::span<const std::byte> bytes) {
  pieces(bytes.size(), [&](std::size_t begin, int count) {
    MPI_Request& request = sends[tag].emplace_back();
    MPI_Isend(bytes.data() + begin, count, MPI_BYTE, static_cast<int>(to), kFirstDataTag + tag, MPI_COMM_WORLD,
              &request);
  });
  sent += static_cast<std::int64_t>(bytes.size());
}

void finish_sends() {
  for (auto& [tag, requests] : sends)
    finish(requests);
}

void receive(std::int64_t from, int tag, std::span<std::byte> bytes) {
  finish(sends[tag]);  // what went out of this memory has arrived long ago, for what comes now goes on from it
  pieces(bytes.size(), [&](std::size_t begin, int count) {
    MPI_Recv(bytes.data() + begin, count, MPI_BYTE, static_cast<int>(from), kFirstDataTag + tag, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
  });
}

void broadcast(std::span<std::byte> bytes) {
  if (ranks == 1)
    return;
  pieces(bytes.size(),
         [&](std::size_t begin, int count) { MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, 0, MPI_COMM_WORLD); });
  sent += own_rank + 1 < ranks ? static_cast<std::int64_t>(bytes.size()) : 0;
}

double broadcast(double value) {
  if (ranks > 1)
    MPI_Bcast(&value, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  return value;
}

void sum(std::span<float> values) {
  if (ranks == 1)
    return;
  pieces(values.size(), [&](std::size_t begin, int count) {
    MPI_Allreduce(MPI_IN_PLACE, values.data() + begin, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  sent += 2 * static_cast<std::int64_t>(values.size_bytes()) * (ranks - 1) / ranks;
}

bool any(bool here) {
  int found = here ? 1 : 0;
  if (ranks > 1)
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return found != 0;
}

std::vector<double> gather(std::span<const double> values) {
  if (ranks == 1)
    return {values.begin(), values.end()};
  const int count = static_cast<int>(values.size());
  std::vector<int> counts(static_cast<std::size_t>(ranks)), begins(counts.size());
  MPI_Allgather(&count, 1, MPI_INT, counts.data(), 1, MPI_INT, MPI_COMM_WORLD);
  std::exclusive_scan(counts.begin(), counts.end(), begins.begin(), 0);
  std::vector<double> all(static_cast<std::size_t>(begins.back() + counts.back()));
  MPI_Allgatherv(values.data(), count, MPI_DOUBLE, all.data(), counts.data(), begins.data(), MPI_DOUBLE,
                 MPI_COMM_WORLD);
  return all;
}

std::int64_t bytes_sent() { return sent; }

}  // namespace osteon::experiments::mpi
