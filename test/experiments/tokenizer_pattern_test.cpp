#include <doctest/doctest.h>

#include "backends/error.hpp"
#include "experiments/data/tokenizers/regex.hpp"

using namespace osteon;
using namespace osteon::experiments::tokenizers;

namespace {

std::string translated(std::string_view pattern) { return translate_oniguruma(pattern, "t.json: pattern"); }

/// The matches, each in brackets.
std::string matches(std::string_view pattern, std::string_view text) {
  std::string out;
  Regex(pattern, "t.json: pattern").for_each(text, [&](std::size_t begin, std::size_t end) {
    out.append("[").append(text.substr(begin, end - begin)).append("]");
  });
  return out;
}

std::string refusal(std::string_view pattern) {
  try {
    Regex(pattern, "t.json: pattern");
  } catch (const FileError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("patterns in Oniguruma's syntax become those of PCRE2 with the same meaning") {
  CHECK(translated("a|(?:b)(c)") == "a|(?:b)(?:c)");
  CHECK(translated("a{,2}b{3}c{1,}?") == "a{0,2}b{3}c{1,}?");
  CHECK(translated("x{1,3}+") == "(?:x{1,3})+");  // a repeat of a repeat; PCRE2 would read it as possessive
  CHECK(translated("(ab){2}+?") == "(?:(?:ab){2})+?");
  CHECK(translated("a{b") == "a\\{b");
  CHECK(translated("\\h") == "[0-9a-fA-F]");  // PCRE2's \h is a space
  CHECK(translated("(?m:.)(?i-m:a)") == "(?s:.)(?i-s:a)");
  CHECK(translated("[a[bc]\\n-]") == "[abc\\x{a}\\x{2d}]");
  CHECK(translated("[]a]") == "[\\x{5d}a]");
  CHECK(translated("\\u00e9\\x41\\x{1F600}\\/") == "éA\U0001F600\\x{2f}");
  CHECK(translated("\\p{Lu}\\P{^N}\\d") == "\\p{Lu}\\p{N}\\p{Nd}");
}

TEST_CASE("matches are those of Oniguruma where PCRE2's differ") {
  CHECK(matches("\\s+", "a \u00a0\u0085b\u180ec") == "[ \u00a0\u0085]");  // U+180E is no space
  CHECK(matches("\\w+", "aé_\u0301²x ⓐ\u200d") == "[aé_\u0301²x][ⓐ]");
  CHECK(matches("[\\w]+", "a²b") == "[a][b]");
  CHECK(matches("^a|b$", "a\na b\nb") == "[a][a][b][b]");  // lines, always
  CHECK(matches("a.b", "a\nb axb") == "[axb]");
  CHECK(matches("(?m)a.b", "a\nb") == "[a\nb]");
  CHECK(matches("(?i:'S|k)", "'ſ \u212a") == "['ſ][\u212a]");
  CHECK(matches("\\bé\\b", "é éa 'é'") == "[é][é]");
  CHECK(matches("x*", "axxb") == "[][xx][]");
  CHECK(matches("", "aé") == "[][][]");
  CHECK(matches("\\s+(?!\\S)|\\s+", "a   b") == "[  ][ ]");
  CHECK(matches("\\p{Han}", "日ー、") == "[日]");  // the script, not its extensions
}

TEST_CASE("what has no equal is refused with its place") {
  const std::pair<const char*, const char*> cases[] = {
      {"a&&[b&&c]", "byte 5: \"&&\" in a class is not supported in a pattern"},
      {"[a[^b]]", "byte 3: a negated class inside a class is not supported in a pattern"},
      {"[[:alpha:]]", "byte 1: a POSIX class is not supported in a pattern"},
      {"(a)\\1", "byte 4: \\1 is not supported in a pattern"},
      {"a(?i)b", "byte 1: an option in the middle of a pattern is not supported in a pattern"},
      {"(?x: a)", "byte 2: this kind of group is not supported in a pattern"},
      {"(?<name>a)", "byte 2: this kind of group is not supported in a pattern"},
      {"a**", "byte 2: a repeat of a repeat is not supported in a pattern"},
      {"a{2}?", "byte 4: \"?\" after {n} is not supported in a pattern"},
      {"\\G", "byte 1: \\G is not supported in a pattern"},
      {"[\\W]", "byte 2: \\W is not supported in a pattern"},
      {"(a", "byte 2: \"(\" without \")\""},
      {"a)", "byte 1: \")\" without \"(\""},
      {"[a", "byte 2: \"[\" without \"]\""},
      {"*a", "byte 0: nothing to repeat"},
      {"[z-a]", "byte 4: a range whose ends are swapped"},
      {"\\x{110000}", "byte 9: not a Unicode character"},
      {"\\", "byte 1: a backslash at the end"},
  };
  for (const auto& [pattern, message] : cases)
    CHECK(refusal(pattern) == join("t.json: pattern: \"", pattern, "\", ", message));
  CHECK(refusal("\\p{Nonsense}").find("is not a pattern that PCRE2 accepts: unknown property") != std::string::npos);
  CHECK(refusal("(?<=a+)b").find("is not a pattern that PCRE2 accepts: lookbehind") != std::string::npos);
}

TEST_CASE("a run of a million spaces is matched") {
  const std::string text = std::string(1'000'000, ' ') + "a";
  CHECK(matches("\\s+(?!\\S)", text).size() == text.size());  // two brackets more, a space and the letter less
}
