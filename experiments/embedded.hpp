#pragma once

#include <span>
#include <string_view>

namespace osteon::experiments {

/// A text file that the build wrote into the program: "suites/quickstart.toml", "runs/pretrain_tiny.toml".
struct EmbeddedFile {
  std::string_view name;
  std::string_view text;
};

std::span<const EmbeddedFile> embedded_files();

}  // namespace osteon::experiments
