#include "experiments/report/runs.hpp"

#include <algorithm>
#include <set>

#include "backends/error.hpp"

namespace osteon::report {

namespace fs = std::filesystem;

namespace {

/// Run folders at or below `folder`, in path order. A run's own folders (adapter/, checkpoint/) are not searched.
std::vector<fs::path> run_folders(const fs::path& folder) {
  if (fs::exists(folder / "summary.json") || fs::exists(folder / "metrics.jsonl"))
    return {folder};
  std::vector<fs::path> inside, found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.is_directory())
      inside.push_back(entry.path());
  std::sort(inside.begin(), inside.end());
  for (const fs::path& path : inside)
    for (fs::path& run : run_folders(path))
      found.push_back(std::move(run));
  if (found.empty() && fs::exists(folder / "config.toml"))
    return {folder};
  return found;
}

std::optional<experiments::Environment> environment_of(const fs::path& folder, const fs::path& highest) {
  for (fs::path path = folder;; path = path.parent_path()) {
    if (fs::exists(path / "environment.json"))
      return experiments::read_environment(path);
    if (path == highest || !path.has_relative_path())
      return std::nullopt;
  }
}

std::string why_absent(const experiments::RunSummary& summary) {
  return summary.error.empty() ? "not completed" : "stopped: " + summary.error;
}

void read_run(const fs::path& folder, const fs::path& highest, RunCollection& collection) {
  const std::string name = folder.lexically_relative(highest.parent_path()).string();
  try {
    if (!fs::exists(folder / "summary.json")) {
      std::string reason = "no summary.json";
      if (fs::exists(folder / "metrics.jsonl"))
        if (const auto metrics = experiments::read_metrics(folder / "metrics.jsonl"); !metrics.steps.empty())
          reason += join("; its last step was ", metrics.steps.back().step);
      collection.absent.push_back({name, reason});
      return;
    }
    Run run;
    run.folder = folder;
    run.summary = experiments::read_summary(folder);
    if (run.summary.purpose == "base")
      return;  // what the compared runs start from
    if (!run.summary.completed) {
      collection.absent.push_back({name, why_absent(run.summary)});
      return;
    }
    const auto has = [&](const char* file) { return run.summary.purpose == "final" && fs::exists(folder / file); };
    if (has("metrics.jsonl"))
      run.metrics = experiments::read_metrics(folder / "metrics.jsonl");
    if (has("spectra.json"))
      run.spectra = experiments::read_spectra(folder);
    if (has("profile.json"))
      run.step_parts = experiments::read_profile_parts(folder);
    run.environment = environment_of(folder, highest);
    collection.runs.push_back(std::move(run));
  } catch (const Error& error) {
    collection.absent.push_back({name, error.what()});
  }
}

}  // namespace

RunCollection collect_runs(const std::vector<fs::path>& paths) {
  RunCollection collection;
  std::set<fs::path> seen;
  for (const fs::path& path : paths) {
    check<FileError>(fs::is_directory(path), "report: ", path.string(), ": expected a folder of runs, found ",
                     fs::exists(path) ? "a file" : "nothing");
    const fs::path highest = fs::canonical(path);
    const std::vector<fs::path> folders = run_folders(highest);
    check<FileError>(!folders.empty(), "report: ", path.string(),
                     ": expected run folders (with a summary.json), found none");
    for (const fs::path& folder : folders)
      if (seen.insert(folder).second)
        read_run(folder, highest, collection);
  }
  return collection;
}

}  // namespace osteon::report
