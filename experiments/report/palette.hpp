#pragma once

#include <array>
#include <cstddef>
#include <string>

/// How a method looks and is called, the same in every table and figure.
namespace osteon::report {

/// Colours that stay apart for every common colour blindness (after Okabe and Ito), one for light and one for dark
/// paper, with a marker of its own so that no figure needs the colour. `marker` is gnuplot's filled point type; the
/// hollow one is `marker` - 1.
struct Style {
  const char* light;
  const char* dark;
  int marker;
};

inline constexpr std::array<Style, 8> kStyles = {{
    {"#5b6472", "#a7b0bd", 5},   // slate, square
    {"#0069a8", "#58b0ea", 7},   // blue, circle
    {"#b4578f", "#e79cc8", 9},   // purple, triangle
    {"#c74e00", "#ff8f4a", 13},  // vermilion, diamond
    {"#00805c", "#35c79a", 11},  // green, triangle down
    {"#a87900", "#e6b93f", 15},  // amber, pentagon
    {"#2e8fa8", "#7fd3e6", 5},   // teal, square
    {"#6a4fb3", "#b3a0f0", 7},   // violet, circle
}};

/// The categories of memory, bottom of the bar first.
struct Category {
  const char* name;
  const char* light;
  const char* dark;
};

inline constexpr std::array<Category, 6> kCategories = {{
    {"weights", "#c3cad4", "#4a5464"},
    {"adapter", "#8c6bb1", "#a58bd0"},
    {"gradient", "#e3a13c", "#d9a14a"},
    {"optimizer", "#b5651d", "#b9743a"},
    {"activation", "#4393c3", "#5aa5d2"},
    {"workspace", "#9fd0c5", "#6fa89c"},
}};

/// Where a step's time goes, bottom of the bar first: the parts of a profile, small ones put together.
inline constexpr std::array<Category, 10> kStepParts = {{
    {"base products", "#b9c4d3", "#4d5a6b"},
    {"adapter products", "#7d5ba6", "#a98bd6"},
    {"adapter's elementwise", "#c9b2e4", "#6d5591"},
    {"around the products", "#e9d5a9", "#7f6f4a"},
    {"attention", "#3f8fc0", "#5fa8d6"},
    {"recurrence", "#2f6f96", "#4785ad"},
    {"head and loss", "#8cc3e0", "#35657f"},
    {"norms and the like", "#dfa040", "#d6a24e"},
    {"optimizer", "#b0602a", "#b5774a"},
    {"rest", "#d8dee5", "#39424d"},
}};

/// "lora" → "LoRA". A method without an entry is called what it calls itself.
std::string display_name(const std::string& method);

/// Place in tables: full first, then the LoRA family, then the Bone family, then any other in order of name.
std::size_t method_order(const std::string& method);

}  // namespace osteon::report
