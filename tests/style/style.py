"""style.py - a tiny frame for checks over the source tree.

A check is a function that yields one complaint after the other; none means it passed. It may raise
Skip("reason"). run() prints what the C test programs print, down to the last line
"N passed, N failed, N skipped", so that ./check adds both up.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"


class Skip(Exception):
    """A check that cannot run here, with the reason."""


def sources(*folders, suffixes=(".c", ".h", ".inc")):
    """Source files below the folders, sorted, so that every run says the same."""
    files = [p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in suffixes]
    return sorted(files)


def name_of(path):
    return str(path.relative_to(ROOT))


def code_of(path):
    """The text with comments and literals blanked out; line numbers stay."""

    def blank(match):
        found = match.group(0)
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[0]
        return re.sub(r"[^\n]", " ", found)

    pattern = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    return re.sub(pattern, blank, path.read_text(encoding="utf-8"), flags=re.S)


def run(*checks):
    counts = {"ok  ": 0, "FAIL": 0, "skip": 0}
    for check in checks:
        verdict = "ok  "
        try:
            for complaint in check():
                print(f"  {complaint}")
                verdict = "FAIL"
        except Skip as reason:
            print(f"  skipped: {reason}")
            verdict = "skip"
        print(f"{verdict} {check.__name__}")
        counts[verdict] += 1
    print(f"{counts['ok  ']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    sys.exit(counts["FAIL"] > 0)
