#include "experiments/report/gnuplot.hpp"

#include <array>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "backends/error.hpp"

extern char** environ;

namespace osteon::report {

namespace {

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// Removes everything from `start` to the end of `end`, wherever they occur in this order.
void remove_between(std::string& text, const std::string& start, const std::string& end) {
  for (std::size_t from = 0; (from = text.find(start, from)) != std::string::npos;) {
    const std::size_t to = text.find(end, from + start.size());
    if (to == std::string::npos)
      return;
    text.erase(from, to + end.size() - from);
  }
}

/// gnuplot opens a group for every change of pen; most stay empty.
std::string without_empty_groups(const std::string& svg) {
  std::string out;
  out.reserve(svg.size());
  for (std::size_t at = 0; at < svg.size();) {
    if (svg.compare(at, 3, "<g ") == 0) {
      const std::size_t open = svg.find('>', at);
      const std::size_t next = open == std::string::npos ? open : svg.find_first_not_of(" \t\n", open + 1);
      if (next != std::string::npos && svg.compare(next, 4, "</g>") == 0) {
        at = svg.find_first_not_of(" \t\n", next + 4);
        continue;
      }
    }
    out += svg[at++];
  }
  return out;
}

std::string recoloured(const std::string& svg, const std::map<std::uint32_t, std::string>& colours) {
  std::string out;
  out.reserve(svg.size());
  for (std::size_t at = 0; at < svg.size();) {
    const std::size_t found = svg.find("rgb(", at);
    out.append(svg, at, found == std::string::npos ? found : found - at);
    if (found == std::string::npos)
      break;
    unsigned red = 0, green = 0, blue = 0;
    const std::size_t end = svg.find(')', found);
    if (std::sscanf(svg.c_str() + found, "rgb(%u,%u,%u)", &red, &green, &blue) == 3 && end != std::string::npos) {
      const auto colour = colours.find((red << 16) | (green << 8) | blue);
      out += colour != colours.end() ? colour->second : svg.substr(found, end + 1 - found);
      at = end + 1;
    } else {
      out += "rgb(";
      at = found + 4;
    }
  }
  return out;
}

}  // namespace

std::optional<std::string> run_gnuplot(const std::string& program, const std::string& argument,
                                       const std::filesystem::path& folder) {
  std::array<int, 2> ends{};
  check<FileError>(::pipe2(ends.data(), O_CLOEXEC) == 0, "gnuplot: no pipe: ", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  std::string name = program, file = argument;
  std::vector<char*> arguments = {name.data(), file.data(), nullptr};
  pid_t child = 0;
  const int refused = ::posix_spawnp(&child, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string errors;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 0; refused == 0 && (count = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    errors.append(buffer.data(), static_cast<std::size_t>(count));
  ::close(ends[0]);
  if (refused != 0)
    return join(program, " could not be started: ", std::strerror(refused));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return std::nullopt;
  return join(program, " ", argument, " failed: ", errors.substr(0, 400));
}

std::string gnuplot_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char letter : text)
    if (letter == '\'')
      quoted += "''";
    else
      quoted += static_cast<unsigned char>(letter) < 0x20 ? ' ' : letter;
  return quoted + "'";
}

std::string inline_svg(std::string svg, const std::string& name, const std::map<std::uint32_t, std::string>& colours) {
  svg.erase(0, svg.find("<svg"));
  remove_between(svg, " xmlns", "\"\n");
  remove_between(svg, "<title>Gnuplot", "</title>");
  remove_between(svg, "<desc>", "</desc>");
  remove_between(svg, "<title>gnuplot_plot", "</title>");
  remove_between(svg, "<filter", "</filter>");
  remove_between(svg, " font-family=\"", "\"");
  replace_all(svg, "xlink:href", "href");
  replace_all(svg, " color=\"black\"", "");
  replace_all(svg, "color='white'", "color='var(--paper)'");
  replace_all(svg, "stroke=\"currentColor\"", "stroke=\"var(--ink)\"");
  for (const char* quote : {"'", "\""}) {
    replace_all(svg, std::string(" id=") + quote, std::string(" id=") + quote + name + "-");
    replace_all(svg, std::string("href=") + quote + "#", std::string("href=") + quote + "#" + name + "-");
  }
  replace_all(svg, "url(#", "url(#" + name + "-");
  return recoloured(without_empty_groups(svg), colours);
}

}  // namespace osteon::report
