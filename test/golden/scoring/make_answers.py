#!/usr/bin/env python3
"""Reference values for experiments/scoring/answer_match.

    pip download --no-deps lm_eval==0.4.13 && unzip lm_eval-*.whl 'lm_eval/tasks/hendrycks_math/*'
    python3 make_answers.py lm_eval/tasks/hendrycks_math/utils.py > answers.json
MATH: lm_eval's copy of the published evaluation. GSM8K: the published regular expressions, by Python's `re`.
"""
import fractions
import importlib.util
import json
import re
import sys
import types

sys.modules["datasets"] = types.SimpleNamespace(Dataset=object)  # lm_eval's module asks for it, its functions do not
spec = importlib.util.spec_from_file_location("reference", sys.argv[1])
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

SOLUTIONS = [
    "", "no number", "He has 3 * 4 = 12.\n#### 12", "#### 12.", "#### -1,234.50", "#### $5", "####7", "#### x\n#### 8", "#### 3 then #### 4",
    "#### .", "#### 1,000,000 apples", "The answer is: 42", "The answer is: 42.", "The answer is: $1,234.", "The answer is: 1,234,567",
    "The answer is: 3/4", "The answer is: 5/2", "The answer is: 7/2", "The answer is: 7/0", "The answer is: /5", "The answer is: 2.5", "The answer is: 3.5",
    "The answer is: -0.5", "The answer is: .75", "The answer is: +12%", "The answer is: about -17 or 18", "The answer is: none",
    "The answer is: 4\nThe answer is: 9", "The answer is 5", "the answer is: 5", "The answer is: 1.2.3", "The answer is: 12/3/4",
    "The answer is: -/3", "The answer is: 10,5", "The answer is:5", "The answer is: 1e5", "The answer is: - 8", "The answer is: \u22123",
]
BOXED = [
    r"so \boxed{5}", r"\boxed{\frac{1}{2}} and \boxed{\sqrt{{3}}}", r"\boxed 7$", r"\boxed{open", r"\fbox{9}", r"\boxed{}", "none", r"\boxed{a}b}",
]
PAIRS = [
    (r"\frac12", r"\frac{1}{2}"), (r"\tfrac{1}{2}", r"\dfrac12"), ("1/2", r"\frac{1}{2}"), ("0.5", "1/2"), (".5", "0.5"), (r"\frac1{72}", r"\frac{1}{72}"),
    (r"\frac{72}1", r"\frac{72}{1}"), (r"\sqrt3", r"\sqrt{3}"), (r"2\sqrt3+\sqrt{5}", r"2\sqrt{3}+\sqrt5"), (r"90^\circ", "90"), (r"90^{\circ}", "90"),
    (r"\$12", "12"), (r"12\%", "12"), (r"12\text{ cm}", "12"), (r"12 \text{ cm} \text{ x}", "12"), (r"\left(1,2\right)", "(1,2)"), ("x=5", "5"),
    ("xy = 5", "5"), ("k = 5", "5"), ("f(x)=5", "5"), (" x=5", "5"), ("1\\!000", "1000"), ("a\\\\b", "a\\b"), ("1 000", "1000"), ("-1/2", r"\frac{-1}{2}"), ("01/2", r"\frac{1}{2}"),
    ("-0/2", r"\frac{0}{2}"), ("0/2", r"\frac{0}{2}"), ("1/2/3", "1/2/3"), (r"\frac", r"\frac"), (r"\sqrt", r"\sqrt"), (r"\sqrt", "x"), (r"\frac1", r"\frac1"), ("", ""), ("", "0"),
    ("3\n", "3"), (r"{.5}", "{0.5}"), (r"\pi .5", r"\pi 0.5"), ("5", "6"), ("(1,2)", "(1, 2)"), (r"\text{A}", "A"), (r"\frac{1}2", r"\frac12"), (r"\sqrt é", r"\sqrt{é}"),
    (r"\frac éà", r"\frac{é}{à}"), ("ππ=2", "2"), ("πππ=2", "2"), ("+1/2", r"\frac{1}{2}"), ("a=b=c", "c"), (r"\frac ab", r"\frac{a}{b}"), (r"\frac{a", r"\frac{a"),
]


def official(text):
    match = re.search(r"#### (\-?[0-9\.\,]+)", text)
    return match.group(1).strip().replace(",", "") if match else None


def metamath(text):
    parts = text.split("The answer is: ")
    match = re.search(r"[\-+]?\d*[\.,/]?\d+", parts[-1].strip()) if len(parts) > 1 else None
    if not match:
        return None
    found = match.group().replace(",", "")
    if "/" not in found:
        return round(float(found))
    above, below = found.split("/")
    if above.strip("+-") == "":
        return None
    return round(float(above)) if below == "0" else round(float(fractions.Fraction(found)))


def normalized(text):
    try:
        return reference.strip_string(text)
    except Exception:  # the published code compares such answers as they stand
        return None


def boxed(text):
    found = reference.last_boxed_only_string(text)
    if found is None:
        return None
    return found[len("\\fbox{"):-1] if found.startswith("\\fbox") else reference.remove_boxed(found)


json.dump({
    "gsm8k": [{"text": t, "official": official(t), "metamath": metamath(t)} for t in SOLUTIONS],
    "boxed": [[t, boxed(t)] for t in BOXED],
    "math": [{"a": a, "b": b, "normalized": [normalized(a), normalized(b)], "equal": reference.is_equiv(a, b)} for a, b in PAIRS],
}, sys.stdout, indent=1, ensure_ascii=False)
print()
