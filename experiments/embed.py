"""Writes text files into a C++ source. usage: embed.py OUT.cpp FILE...

The program then carries its suites and recipes: an installed `osteon` needs no data folder.
"""
import pathlib
import sys

MARK = "embedded"


def main() -> None:
    out, files = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    lines = ['#include "experiments/embedded.hpp"', "", "namespace osteon::experiments {", "namespace {", ""]
    lines.append(f"constexpr EmbeddedFile kFiles[] = {{")
    for file in files:
        text = file.read_text(encoding="utf-8")
        if f'){MARK}"' in text or len(text) > 60_000:
            sys.exit(f"{file}: cannot be written as one string literal")
        lines.append(f'    {{"{file.parent.name}/{file.name}", R"{MARK}({text}){MARK}"}},')
    lines += ["};", "", "}  // namespace", "", "std::span<const EmbeddedFile> embedded_files() { return kFiles; }", ""]
    lines.append("}  // namespace osteon::experiments")
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
