#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

/// How the published scorers cut a text into words, and the n-grams of these words. Texts are UTF-8.
namespace osteon::scoring {

using Words = std::vector<std::string>;

/// Lower case of every character, as Python's str.lower() but for a final sigma. ConfigError for a text that is not
/// ASCII where the build has no utf8proc.
std::string lower_case(std::string_view text);

/// Words between white space, as Python's str.split().
Words split_words(std::string_view text);

/// mteval-v13a's "international" cut, which sacrebleu calls 13a and the E2E scripts use: <skipped> and a hyphen at a
/// line's end go, &quot; &amp; &lt; &gt; are what they stand for; every ASCII punctuation mark but ' - , . stands
/// alone; a period or comma does unless it has a digit before and behind; a hyphen does behind a digit.
Words words_13a(std::string_view text);

/// Google's rouge_score: lower case, and every run of other than a-z and 0-9 parts words. No stemming.
Words words_rouge(std::string_view text);

/// As coco-caption prepares captions (Stanford's PTB tokenizer with -lowerCase, then punctuation dropped), by its rules
/// for plain English: the 13a cut in lower case, n't and 's 're 've 'll 'd 'm cut off their words, and . , : ; ? ! - --
/// ... ` `` ' '' " and brackets dropped. Without Java: rare abbreviations ("U.S.") may be cut otherwise.
Words words_coco(std::string_view text);

/// Every run of `order` words with how often it occurs. Words are joined by a byte that no text holds.
using NgramCounts = std::map<std::string, std::int64_t, std::less<>>;
void count_ngrams(const Words& words, std::size_t order, NgramCounts& counts);
NgramCounts ngrams(const Words& words, std::size_t order);

/// How often each run occurs at most in one of the texts: what a hypothesis may match.
NgramCounts largest_counts(const std::vector<Words>& texts, std::size_t order);

}  // namespace osteon::scoring
