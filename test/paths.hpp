#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace osteon::test {

/// The first `name` in the working directory or a folder above it.
inline std::optional<std::filesystem::path> find_upward(const std::filesystem::path& name) {
  for (std::filesystem::path folder = std::filesystem::current_path();; folder = folder.parent_path()) {
    if (std::filesystem::exists(folder / name))
      return folder / name;
    if (folder == folder.root_path())
      return std::nullopt;
  }
}

/// A file of test/golden; tests run somewhere inside the repository.
inline std::filesystem::path golden(const std::filesystem::path& name) {
  return find_upward("test/golden").value_or("test/golden") / name;
}

/// The folder with the full set of golden cases and real data, which lies beside some checkouts: OSTEON_SHARED (empty
/// for none), or `shared` beside a folder above. Tests that need it say so and pass when it is absent.
inline std::optional<std::filesystem::path> shared() {
  if (const char* set = std::getenv("OSTEON_SHARED"))
    return *set == '\0' ? std::nullopt : std::optional<std::filesystem::path>(set);
  const auto found = find_upward("shared/golden");
  return found ? std::optional(found->parent_path()) : std::nullopt;
}

}  // namespace osteon::test
