#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "experiments/config/config.hpp"

namespace osteon::experiments {

/// One row of a suite's table: a point of the axes, or a case, before seeds and sweep.
struct Cell {
  std::string id;  // "down-bone": names folders and picks
  std::vector<std::pair<std::string, std::string>>
      labels;        // what distinguishes it: {"data", "down"}, {"method", "bone"}
  RunConfig config;  // as the suite gives it: what follows from other keys is settled run by run
  std::map<std::string, std::string> places = {};  // "suite.toml:12" of each key that the suite sets

  /// "suite.toml:12: data", or "data" where nothing set it.
  std::string place_of(const std::string& key) const;
  /// Of its case; empty where it belongs to none that has a name.
  std::string case_name() const;
};

/// The search for one key's value, cell by cell, on validation data and with a seed that no reported run uses.
struct Sweep {
  std::string key;
  std::vector<std::string> values;
  std::int64_t seed = 0;
  std::vector<std::string> by;  // "accuracy" and "loss", the first decides, the next breaks ties
  std::string eval_data;        // what it is chosen on; tasks have validation items of their own
  std::string place;            // "suite.toml:20"
};

/// What a fair comparison holds equal.
enum class Equal { nothing, parameters, memory, time, flops };

/// What cells must have in common for the comparison to be fair. It holds among the cells that differ in nothing but
/// method, case and the solved key, and is checked before anything is trained (fairness.hpp).
struct Fairness {
  Equal equal = Equal::nothing;
  double tolerance = 0;             // largest |figure / reference's - 1|
  std::vector<std::string> except;  // methods outside the rule, such as full
  std::string reference;            // the method or case whose figure the others must have; empty: their mean
  std::string solve;                // whole-number key chosen for each of the others; empty: only checked
  std::string place;                // "suite.toml:31" of `equal`
};

/// A question as data: experiments/suites/*.toml. Sections of a file:
///   question, seeds              what is asked; the seeds that are reported
///   [base]                       run keys shared by all
///   [axes]                       run keys with lists of values: every combination is a cell, the first axis slowest
///   [zip]                        run keys with lists of equal length: the first values are a cell, the second, ...
///   [[cases]]                    run keys of one cell each, with an optional `name`; combined with the axes
///   [for.KEY.VALUE]              run keys of the cells whose KEY is VALUE; a case's own keys go before them
///   [sweep]                      one run key with its values; seed; by; eval_data
///   [fairness]                   see the struct
///   [report]                     title; tasks, plots: the order of its parts
///   [quick]                      the same sections again: what they name replaces the value above
struct Suite {
  std::string name;  // the file's, without folder and ending
  std::string question;
  std::string text;  // the file itself, for the result
  bool quick = false;
  std::vector<std::int64_t> seeds;
  std::vector<Cell> cells;
  std::optional<Sweep> sweep;
  Fairness fairness;
  std::string title;  ///< of the report; the name where the file has none
  std::vector<std::string>
      tasks;  ///< the report's order of tasks (`data` without folder and ending); the cells' by default
  std::vector<std::string> plots;  ///< the report's figures, of report::plot_names(); empty: all
};

/// One run of a suite.
struct SuiteRun {
  std::string id;        // "down-bone-seed1", "down-bone-lr0.003-seed100"; unique in the suite
  std::size_t cell = 0;  // index in Suite::cells
  RunConfig config;
};

/// Reads a suite. FileError if it cannot be opened; ConfigError with file and line for bad TOML, an unknown section or
/// key (the nearest is suggested), a value that does not fit its key, an empty axis, lists of [zip] that differ in
/// length, two cells with one name, [for] that no cell matches or that sets an axis, and a sweep whose seed is reported
/// too. `replaced`: "axes.rank=[16, 32]" puts another value, in TOML, in the place of one of the sections axes, zip,
/// sweep and fairness, in [quick] too. ConfigError for one that the file does not have.
Suite load_suite(const std::filesystem::path& file, bool quick = false, const std::vector<std::string>& replaced = {});
Suite parse_suite(std::string_view text, std::string_view name, bool quick = false,
                  const std::vector<std::string>& replaced = {});

/// Keeps the cells of these ids. ConfigError for an id that no cell has (the nearest is suggested).
void keep_cells(Suite& suite, const std::vector<std::string>& ids);

/// A suite of the program's own by name ("quickstart"), or ConfigError that suggests the nearest one.
Suite embedded_suite(std::string_view name, bool quick = false, const std::vector<std::string>& replaced = {});
std::vector<std::string> embedded_suite_names();

/// Keys of a run that are none of a suite's, since `osteon ablate` sets them: out, threads, resume.
bool set_by_ablate(std::string_view key);

/// `key=value` of `--set` for every cell; `seeds=1,2` replaces the seeds; a value for the swept key takes the place of
/// the sweep. ConfigError for a key that is an axis or not a suite's.
void set_in_suite(Suite& suite, std::string_view argument);

/// Cells x sweep values, with the sweep's seed; nothing without a sweep. ConfigError where a cell would be chosen on
/// the file that its reported runs are scored on.
std::vector<SuiteRun> sweep_runs(const Suite& suite);

/// Cells x seeds, cells slowest. `chosen` maps a cell's id to the text of its swept key's value; a cell that is missing
/// there although the suite has a sweep is a ConfigError.
std::vector<SuiteRun> final_runs(const Suite& suite, const std::map<std::string, std::string>& chosen);

}  // namespace osteon::experiments
