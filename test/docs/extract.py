#!/usr/bin/env python3
"""Writes the C++ blocks of a Markdown page into one source file, so that the page's code is compiled and tested.
usage: extract.py PAGE.md OUT.cpp"""
import re
import sys

page, out = sys.argv[1:]
with open(page, encoding="utf-8") as file:
    text = file.read()
blocks = re.findall(r"^```cpp\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
if not blocks:
    sys.exit(f"{page}: no ```cpp block")
with open(out, "w", encoding="utf-8") as file:
    file.write("".join(blocks))
