#pragma once

#include <optional>
#include <string>
#include <string_view>

/// Whether the answer of a solution in words is the right one. docs/scoring.md has the rules with examples.
namespace osteon::scoring {

// GSM8K. Three rules, from the strictest to the one that asks for the number alone.

/// The data's own (openai/grade-school-math, dataset.py): behind the first "#### ", an optional '-' and the run of
/// digits, periods and commas; commas are dropped. Two answers are compared as texts, so "72." is not "72".
std::optional<std::string> gsm8k_official_answer(std::string_view text);

/// MetaMath's (eval_gsm8k.py), which PiSSA and Bone use: behind the last "The answer is: ", the first match of
/// [-+]?\d*[.,/]?\d+ with commas dropped, rounded to a whole number (halves to even); a/b is a fraction, a/0 is a. So
/// "1,234,567" reads 1234, as there. Only ASCII digits are digits.
std::optional<double> metamath_answer(std::string_view text);

/// The number that a solution ends in, as a reader would take it: the first number behind the last "####", else behind
/// the last "answer is" (any case, with or without ':'), and where no number follows there, or neither is said, the
/// last number of the text. A number: sign (- + or U+2212; not behind a digit or letter), $ or \$ before it or behind
/// its sign, digits with or without commas between thousands, decimals, a/b with whole a and b > 0 as a fraction; % and
/// a period behind it do not count.
std::optional<double> number_answer(std::string_view text);

// MATH (Hendrycks et al., NeurIPS 2021).

/// The content of the last \boxed{...} (\fbox{...} where there is none), braces inside in pairs; also "\boxed 5", up to
/// a '$' or the end. Empty where there is none, or its braces do not close.
std::optional<std::string> last_boxed(std::string_view text);

/// What a solution of MATH answers: last_boxed(), else, as MetaMath's eval_math.py, what stands behind the last
/// "The answer is: " up to ".\n" or the end, without a period at its end.
std::optional<std::string> math_answer(std::string_view text);

/// An answer as the paper's evaluation code compares it: without line breaks, \!, \left, \right, degrees, \$, \%, units
/// in "\text{ ...", spaces and a short "x =" before it; \\ as \, tfrac and dfrac as frac, ".5" as "0.5", \sqrt3 as
/// \sqrt{3}, \frac12 as \frac{1}{2}, a/b of whole numbers and 0.5 as \frac. Empty where the published code fails on
/// the answer (a \frac or \sqrt with nothing behind it, units twice).
std::optional<std::string> normalized_math(std::string_view answer);

/// Whether two answers are the same when normalised; as they stand where either cannot be.
bool math_equivalent(std::string_view a, std::string_view b);

}  // namespace osteon::scoring
