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

/// Of these plot_names(), all where none are named, those for which there are figures.
std::vector<FigureSection> figure_sections(const Comparison& comparison, const Figures& figures,
                                           const std::vector<std::string>& plots);

}  // namespace osteon::report
