#pragma once

#include <memory>
#include <vector>

#include "experiments/sweep/process_pool.hpp"

namespace osteon::experiments::mpi {

/// Rank 0's: the other ranks as hosts of programs. They serve until this is destroyed.
class RemoteRuns {
 public:
  RemoteRuns() = default;
  ~RemoteRuns();
  RemoteRuns(const RemoteRuns&) = delete;
  RemoteRuns& operator=(const RemoteRuns&) = delete;
};

/// A host for each other rank, for a ProcessPool of rank 0.
std::vector<std::unique_ptr<ProgramHost>> other_ranks();

/// The other ranks': starts the programs that rank 0 sends, each as a child, and tells how they ended, until rank 0 has
/// no more.
void serve_runs(const std::function<bool()>& should_stop);

/// A list of texts as one text, and back: what travels between them.
std::string packed(const std::vector<std::string>& words);
std::vector<std::string> unpacked(const std::string& text);

}  // namespace osteon::experiments::mpi
