#include "experiments/scoring/text_tokens.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "experiments/data/unicode.hpp"

namespace osteon::scoring {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_point(char c) { return c == '.' || c == ','; }

/// The marks that 13a cuts off wherever they stand: ASCII punctuation but ' , - and the period.
bool stands_alone(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
         (c >= ':' && c <= '@') || c == '/';
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// One pass over pairs of neighbours, left to right and without overlap, as a regular expression's substitution goes:
/// where `matches(first, second)`, the pair is written as `around` says.
template <class Matches>
std::string cut_pairs(const std::string& text, Matches&& matches, bool space_before, bool space_behind) {
  std::string cut;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i + 1 == text.size() || !matches(text[i], text[i + 1])) {
      cut += text[i];
      continue;
    }
    if (space_before)
      cut += ' ';
    cut += text[i];
    cut += ' ';
    cut += text[++i];
    if (space_behind)
      cut += ' ';
  }
  return cut;
}

bool is_dropped_by_coco(std::string_view word) {
  static constexpr std::array<std::string_view, 18> kDropped = {".", ",", ":", ";",  "?",  "!", "-", "--", "...",
                                                                "`", "'", "(", "``", "''", ")", "[", "]",  "\""};
  return std::find(kDropped.begin(), kDropped.end(), word) != kDropped.end() || word == "{" || word == "}";
}

}  // namespace

std::string lower_case(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
    std::string dotted(text);
    replace_all(dotted, "\xC4\xB0", "i\xCC\x87");  // the one character whose lower case is two
    return experiments::lowercased(experiments::to_valid_utf8(dotted));
  }
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

Words split_words(std::string_view text) {
  Words words;
  std::string word;
  while (!text.empty()) {
    const experiments::Utf8Character next = experiments::first_character(text);
    const bool space = next.state == experiments::Utf8Character::State::valid &&
                       (experiments::is_white_space(next.code) || (next.code >= 0x1C && next.code <= 0x1F));
    if (!space)
      word += text.substr(0, next.bytes);
    else if (!word.empty())
      words.push_back(std::exchange(word, {}));
    text.remove_prefix(next.bytes);
  }
  if (!word.empty())
    words.push_back(std::move(word));
  return words;
}

Words words_13a(std::string_view text) {
  std::string line(text);
  line.erase(line.find_last_not_of(" \t\n\v\f\r") + 1);
  replace_all(line, "<skipped>", "");
  replace_all(line, "-\n", "");
  replace_all(line, "\n", " ");
  replace_all(line, "&quot;", "\"");
  replace_all(line, "&amp;", "&");
  replace_all(line, "&lt;", "<");
  replace_all(line, "&gt;", ">");
  std::string cut = " ";
  for (const char c : line + " ")
    cut += stands_alone(c) ? std::string{' ', c, ' '} : std::string(1, c);
  cut = cut_pairs(
      cut, [](char a, char b) { return !is_digit(a) && is_point(b); }, false, true);
  cut = cut_pairs(
      cut, [](char a, char b) { return is_point(a) && !is_digit(b); }, true, false);
  cut = cut_pairs(
      cut, [](char a, char b) { return is_digit(a) && b == '-'; }, false, true);
  return split_words(cut);
}

Words words_rouge(std::string_view text) {
  std::string lower = lower_case(text);
  for (char& c : lower)
    if (!is_digit(c) && !(c >= 'a' && c <= 'z'))
      c = ' ';
  return split_words(lower);
}

Words words_coco(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kEndings = {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m"};
  Words words;
  for (std::string& word : words_13a(lower_case(text))) {
    if (is_dropped_by_coco(word))
      continue;
    const auto ending = std::find_if(kEndings.begin(), kEndings.end(), [&](std::string_view end) {
      return word.size() > end.size() && std::string_view(word).ends_with(end);
    });
    if (ending == kEndings.end()) {
      words.push_back(std::move(word));
      continue;
    }
    words.push_back(word.substr(0, word.size() - ending->size()));
    words.emplace_back(*ending);
  }
  return words;
}

void count_ngrams(const Words& words, std::size_t order, NgramCounts& counts) {
  for (std::size_t first = 0; first + order <= words.size(); ++first) {
    std::string run = words[first];
    for (std::size_t i = 1; i < order; ++i)
      (run += '\0') += words[first + i];
    ++counts[std::move(run)];
  }
}

NgramCounts ngrams(const Words& words, std::size_t order) {
  NgramCounts counts;
  count_ngrams(words, order, counts);
  return counts;
}

NgramCounts largest_counts(const std::vector<Words>& texts, std::size_t order) {
  NgramCounts largest;
  for (const Words& words : texts)
    for (const auto& [run, count] : ngrams(words, order)) {
      std::int64_t& most = largest[run];
      most = std::max(most, count);
    }
  return largest;
}

}  // namespace osteon::scoring
