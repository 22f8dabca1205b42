#!/usr/bin/env python3
"""Reference values for experiments/scoring's BLEU, NIST and ROUGE-L, on sentences made up for it.

    pip install sacrebleu==2.6.0 nltk==3.10.4 rouge-score==0.1.2 pycocoevalcap==1.2
    python3 make_text.py > text.json
NIST with one reference is nltk's; with several it is `mteval_nist` below, mteval-v13a's rule written from Doddington 2002
(nltk takes the best reference for each order instead). ROUGE-L of coco-caption is given words, as its own tokenizer is
a Java program.
"""
import collections
import json
import math
import sys

import nltk
import sacrebleu
from nltk.translate.nist_score import corpus_nist
from pycocoevalcap.rouge.rouge import Rouge
from rouge_score import rouge_scorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

TOKENIZE = [
    "", " ", "Plain words only", "It's the inn's, isn't it?", "Pays 1,234.50 (about $1,200) - or 5-6%!", "a.b c,d 3.x y.4 ..5,",
    "&quot;Q&amp;A&quot; &lt;b&gt;", "one <skipped>two", "co-\noperate\nnow", "well-known 20-year e-mail", "Café Ørsted, naïve… “quoted” — 日本。語",
    "tabs\tand\u00a0no-break\u2003spaces \u3000end ", "x[0]={y};z|w~^_`@#", "ends with a period .", "...", "3.", ".3", "İstanbul ΑΒΓ ÉCLAIR",
]

CORPORA = {
    "one reference": [
        ["The old mill serves cheap Thai food near the river .", ["The old mill is a cheap Thai place near the river ."]],
        ["A family pub, rated 3 out of 5!", ["It is a family pub that is rated 3 out of 5."]],
        ["Wild Boar sells soup for less than £20", ["Wild boar sells soup for under £20."]],
    ],
    "several references": [
        ["The Green Fork is an inexpensive coffee shop by the lake.",
         ["The Green Fork is a cheap coffee shop near the lake.", "Near the lake there is The Green Fork, an inexpensive coffee shop.",
          "The Green Fork: cheap coffee."]],
        ["the the the the the", ["the cat sat on the mat", "there is the cat"]],
        ["It serves food .", ["It serves Italian food .", "It serves food , Italian .", "Food is served ."]],
        ["No children, 1,500 seats; rated 4.5-star.", ["It has 1,500 seats, a 4.5-star rating and allows no children."]],
    ],
    "case and unicode": [
        ["CAFÉ Ørsted is NEAR the Río—good!", ["Café Ørsted is near the río — good!", "A good café, Ørsted, is near the Río."]],
        ["ΑΒΓ δε日本 Soup", ["αβγ δε日本 soup"]],
    ],
    "empty and short": [
        ["", ["Something is here .", "Some thing"]],
        ["Two words", ["Two words", "Two words more"]],
        ["Yes", ["Yes it is open today"]],
        ["One two three four five six", ["One two three four five six seven", "One two three five"]],
    ],
    "three words at most": [["a b c", ["a b c", "a b"]], ["d e", ["d e f"]]],
    "no run of four matches": [["a b c d e f", ["a b c x e f", "f e d c b a"]], ["k l m n", ["k l x n m"]]],
    "nothing matches": [["aa bb cc dd ee", ["ff gg hh ii jj"]]],
    "too long": [["the mill is open all day and all night every day of the week", ["the mill is open all day", "the mill is open"]]],
    "html and marks": [["Fish &amp; chips &quot;to go&quot; (5-10 min.)", ["Fish &amp; chips, &quot;to go&quot;, in 5-10 min."]]],
}


def words(text):
    return Tokenizer13a()(text.lower().rstrip()).split()


def grams(sentence, n):
    return collections.Counter(tuple(sentence[i:i + n]) for i in range(len(sentence) - n + 1))


def mteval_nist(hypotheses, references):
    counts = collections.Counter()
    for refs in references:
        for ref in refs:
            counts[()] += len(ref)
            for n in range(1, 6):
                counts.update(grams(ref, n))
    total = 0
    for n in range(1, 6):
        information, made = 0, 0
        for hypothesis, refs in zip(hypotheses, references):
            allowed = collections.Counter()
            for ref in refs:
                allowed |= grams(ref, n)
            own = grams(hypothesis, n)
            made += sum(own.values())
            information += sum(c * math.log2(counts[g[:-1]] / counts[g]) for g, c in (own & allowed).items())
        total += information / made if made else 0
    length, mean = sum(map(len, hypotheses)), sum(sum(map(len, refs)) / len(refs) for refs in references)
    if not length:
        return 0.0
    ratio = min(1, length / mean)
    return total * math.exp(math.log(0.5) / math.log(1.5)**2 * math.log(ratio)**2)


def bleu(hypotheses, references, **options):
    most = max(map(len, references))
    streams = [[refs[k] if k < len(refs) else None for refs in references] for k in range(most)]
    score = sacrebleu.corpus_bleu(hypotheses, streams, force=True, **options)
    return {"score": score.score, "precisions": score.precisions, "brevity_penalty": score.bp, "length": score.sys_len,
            "reference_length": score.ref_len}


def corpus(items):
    hypotheses, references = [h for h, _ in items], [r for _, r in items]
    cut, cut_refs = [words(h) for h in hypotheses], [[words(r) for r in refs] for refs in references]
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    nist, single = mteval_nist(cut, cut_refs), all(len(r) == 1 for r in references)
    if single and min(map(len, cut)) >= 5:
        assert abs(nist - corpus_nist(cut_refs, cut)) < 1e-12
    return {
        "items": [{"text": h, "references": r} for h, r in items],
        "sacrebleu": bleu(hypotheses, references),
        "mteval": bleu(hypotheses, references, lowercase=True),
        "multi_bleu": bleu(hypotheses, references, tokenize="none", smooth_method="none"),
        "nist": nist,
        "nist_by_nltk": corpus_nist(cut_refs, cut) if single and min(map(len, cut)) >= 5 else None,
        "rouge_l_f1": [scorer.score_multi(refs, h)["rougeL"].fmeasure for h, refs in items],
        "rouge_l_coco": [Rouge().calc_score([" ".join(h)], [" ".join(r) for r in refs]) for h, refs in zip(cut, cut_refs)],
    }


json.dump({
    "versions": {"sacrebleu": sacrebleu.__version__, "nltk": nltk.__version__, "rouge_score": "0.1.2", "pycocoevalcap": "1.2"},
    "words_13a": [[text, Tokenizer13a()(text.rstrip()).split()] for text in TOKENIZE],
    "words_13a_lower": [[text, words(text)] for text in TOKENIZE],
    "corpora": {name: corpus(items) for name, items in CORPORA.items()},
}, sys.stdout, indent=1, ensure_ascii=False)
print()
