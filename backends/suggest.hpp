#pragma once

#include <span>
#include <string>
#include <string_view>

namespace osteon {

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that `name` most likely meant: fewest edits, the first among equals; empty if none is near (more edits
/// than a third of the longer word, at least 2, unless one begins with the other). Case and '-' against '_' are
/// ignored.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

/// "; did you mean 'rank'?", or empty where nothing is near: the tail of an error about an unknown name.
std::string suggestion(std::string_view name, std::span<const std::string> candidates);

}  // namespace osteon
