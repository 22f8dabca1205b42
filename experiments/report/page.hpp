#pragma once

#include <string>

#include "experiments/report/comparison.hpp"
#include "experiments/report/figures.hpp"
#include "experiments/report/findings.hpp"
#include "experiments/report/report.hpp"

namespace osteon::report {

/// The whole of report.html. Every text of a run is escaped.
std::string page(const Comparison& comparison, const Findings& findings, const Figures& figures,
                 const std::string& title, const ReportOptions& options);

}  // namespace osteon::report
