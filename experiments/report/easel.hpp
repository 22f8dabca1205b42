#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace osteon::report {

/// One panel: a task in one kind of figure.
struct Figure {
  std::string name;  ///< of its files in the figures folder: NAME.csv, NAME.gp, NAME.svg
  std::string task;
  std::string caption;      ///< the task, or what of it where a task has several panels
  std::string description;  ///< for readers that cannot see it
  std::string svg;          ///< to stand in the page; empty when gnuplot failed
};

/// What all figures share: paper, axes, fonts, and the way from data and script to a picture.
class Easel {
 public:
  static constexpr const char* kInk = "#1f2933";
  static constexpr const char* kAxis = "#8a94a3";
  static constexpr const char* kGrid = "#e3e7ec";

  /// Figures go to `folder`, which is made if needed; `gnuplot` is a program name or path.
  Easel(std::filesystem::path folder, std::string gnuplot);

  /// Writes NAME.csv and NAME.gp and runs gnuplot. The script finds the data as `data`; `settings` come before `plot`.
  /// It draws twice: bare for the page, where one key serves a row of panels, and with title and key on white paper
  /// for use elsewhere.
  Figure draw(const std::string& name, const std::string& caption, const std::string& description,
              const std::string& csv, const std::string& settings, const std::string& plot);

  /// Why there are no figures, or not all; empty when all is well.
  const std::string& missing() const { return missing_; }

 private:
  std::filesystem::path folder_;
  std::string gnuplot_, missing_;
  bool available_ = false;
};

/// A text and a number as fields of a figure's CSV file; a number that is not there or not finite is an empty field.
std::string csv_text_field(const std::string& text);
std::string csv_field(std::optional<double> value);

}  // namespace osteon::report
