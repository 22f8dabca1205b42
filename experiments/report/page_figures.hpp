#pragma once

#include <string>
#include <vector>

#include "experiments/report/figures.hpp"

namespace osteon::report {

/// A part of the page that shows figures of one kind and says how to read them.
struct FigureSection {
  const char* id;
  const char* heading;
  std::string html;
};

/// Those for which there are figures.
std::vector<FigureSection> figure_sections(const Comparison& comparison, const Figures& figures);

}  // namespace osteon::report
