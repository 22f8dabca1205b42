#pragma once

#include <string>

#include "experiments/report/comparison.hpp"

/// The saved-tensor audit of report.html: of each contestant's first run of a task.
namespace osteon::report {

/// Bytes kept for backward, op by op, a column a contestant; empty when no run recorded them.
std::string audit_table(const Comparison& comparison, const Task& task);
/// The same with shapes, a list a contestant.
std::string audit_details(const Comparison& comparison, const Task& task);
}  // namespace osteon::report
