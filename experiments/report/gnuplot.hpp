#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

/// Figures by gnuplot: a script and its data go to a folder, and stay there, so that a figure can be changed and drawn
/// again by hand (`gnuplot NAME.gp`).
namespace osteon::report {

/// Runs `program` with `argument` in `folder`. Returns why it failed: that it is not there, or its first lines of error
/// output; nothing on success.
std::optional<std::string> run_gnuplot(const std::string& program, const std::string& argument,
                                       const std::filesystem::path& folder);

/// A text for a gnuplot script: single-quoted, so that nothing in it is interpreted.
std::string gnuplot_quoted(const std::string& text);

/// An SVG file of gnuplot's made fit to stand in a page: no prologue, no namespaces (a page needs none, and no address
/// is left), ids unique by `name`, the page's font and paper, and colours 0xRRGGBB of `colours` replaced by what they
/// stand for.
std::string inline_svg(std::string svg, const std::string& name, const std::map<std::uint32_t, std::string>& colours);

}  // namespace osteon::report
