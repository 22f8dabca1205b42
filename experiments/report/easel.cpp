#include "experiments/report/easel.hpp"

#include <cmath>
#include <fmt/format.h>
#include <map>

#include "experiments/report/gnuplot.hpp"
#include "experiments/report/palette.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::report {

namespace {

std::uint32_t hex(const char* colour) { return static_cast<std::uint32_t>(std::stoul(colour + 1, nullptr, 16)); }

/// What the colours of a script become in the page, where they follow its light or dark theme.
std::map<std::uint32_t, std::string> page_colours() {
  std::map<std::uint32_t, std::string> colours = {
      {hex(Easel::kInk), "var(--ink)"}, {hex(Easel::kAxis), "var(--axis)"}, {hex(Easel::kGrid), "var(--grid)"}};
  for (std::size_t i = 0; i < kStyles.size(); ++i)
    colours[hex(kStyles[i].light)] = fmt::format("var(--m{})", i);
  for (const Category& category : kCategories)
    colours[hex(category.light)] = fmt::format("var(--k-{})", category.name);
  for (std::size_t i = 0; i < kStepParts.size(); ++i)
    colours[hex(kStepParts[i].light)] = fmt::format("var(--t{})", i);
  return colours;
}

std::string terminal(int height, const char* paper, const std::string& output) {
  return fmt::format("set terminal svg size 420,{} dynamic noenhanced font 'Helvetica,12'{}\nset output '{}'\n", height,
                     paper, output);
}

}  // namespace

Easel::Easel(std::filesystem::path folder, std::string gnuplot)
    : folder_(std::move(folder)), gnuplot_(std::move(gnuplot)) {
  std::filesystem::create_directories(folder_);
  if (const auto failed = run_gnuplot(gnuplot_, "--version", folder_))
    missing_ = *failed;
  available_ = missing_.empty();
}

Figure Easel::draw(const std::string& name, const std::string& caption, const std::string& description,
                   const std::string& csv, const std::string& settings, const std::string& plot) {
  const std::string page_file = name + ".page.svg";
  const std::string script =
      fmt::format("# gnuplot {0}.gp draws {0}.svg from {0}.csv\n", name) +
      "set encoding utf8\nset datafile separator comma\nset datafile columnheaders\n" +
      fmt::format("set border 3 lc rgb '{}'\nset tics nomirror scale 0.5 textcolor rgb '{}'\n", kAxis, kInk) +
      fmt::format("set grid ytics lt 1 lc rgb '{}' lw 0.8\n", kGrid) +
      fmt::format("set xlabel offset 0,0.4 textcolor rgb '{0}'\nset ylabel textcolor rgb '{0}'\n", kInk) +
      fmt::format("data = '{}.csv'\n", name) + settings +
      // the page's version first: gnuplot keeps a background once it is set
      "unset key\n" + terminal(280, "", page_file) + plot + "\n" +
      fmt::format("set title {} textcolor rgb '{}'\n", gnuplot_quoted(caption), kInk) +
      fmt::format("set key below Left reverse height 1 samplen 1.5 textcolor rgb '{}'\n", kInk) +
      terminal(340, " background '#ffffff'", name + ".svg") + "replot\n";
  io::write_file_atomically(folder_ / (name + ".csv"), csv);
  io::write_file_atomically(folder_ / (name + ".gp"), script);
  Figure figure{.name = name, .task = caption, .caption = caption, .description = description, .svg = {}};
  if (!available_)
    return figure;
  if (const auto failed = run_gnuplot(gnuplot_, name + ".gp", folder_)) {
    missing_ = *failed;
    return figure;
  }
  figure.svg = inline_svg(io::read_file(folder_ / page_file), "f" + name, page_colours());
  std::filesystem::remove(folder_ / page_file);
  return figure;
}

std::string csv_text_field(const std::string& text) {
  std::string quoted = "\"";
  for (const char letter : text)
    if (letter == '"')
      quoted += "\"\"";
    else
      quoted += static_cast<unsigned char>(letter) < 0x20 ? ' ' : letter;
  return quoted + "\"";
}

std::string csv_field(std::optional<double> value) {
  return value && std::isfinite(*value) ? fmt::format("{:.8g}", *value) : std::string();
}

}  // namespace osteon::report
