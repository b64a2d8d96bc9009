"""docs.py - what documents promise, and what can be looked up."""

import re
from collections import Counter

from style import ROOT, SRC, name_of, run

STOP = re.compile(r"\b((?:[a-z0-9_]+/)+[a-z0-9_]+\.(?:c|h|inc))`?: *`?([a-z][a-z0-9_]*)")
ERROR = re.compile(r'^ERROR\((F_\w+), (\d+), (STATUS_\w+), (\d+), "([^"]+)"\)$')
RANGES = {"base": (1, 99), "tensor": (100, 149), "kernels": (150, 199),
          "autograd and model": (200, 299), "tokens": (300, 399), "data": (400, 499),
          "train": (500, 599), "infer and eval": (600, 649), "convert": (650, 699),
          "app": (700, 799)}
EXIT_CODES = {1, 64, 65, 66, 69, 70, 71, 73, 74, 75, 77, 78, 130}


def walks_lead_somewhere():
    """Every "file: function" stop of docs/walks.md exists."""
    walks = ROOT / "docs" / "walks.md"
    if not walks.exists():
        yield "docs/walks.md does not exist"
        return
    stops = STOP.findall(walks.read_text(encoding="utf-8"))
    if not stops:
        yield "docs/walks.md has no stop of the form `folder/file.c: function`"
    for file, function in stops:
        path = SRC / file
        if not path.exists():
            yield f"{file}: no such file"
        # A definition begins in the first column and is not a declaration; templates wrap the name.
        elif not re.search(rf"^\w[^;\n=]*\b(NAME\()?{function}\)?\([^;]*?\)\s*\{{",
                           path.read_text(encoding="utf-8"), re.M):
            yield f"{file}: {function} is not defined there"


def readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").count("\n")
    if lines >= 150:
        yield f"README.md: {lines} lines, at most 149"


def links_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                yield f"{name_of(page)}: {target} does not exist"


def error_rows():
    section = None
    for line in (SRC / "base" / "errors.def").read_text(encoding="utf-8").split("\n"):
        heading = re.match(r"/\* ([a-z ]+) \*/$", line)
        if heading:
            section = heading.group(1)
        if line.startswith("ERROR("):
            yield section, line, ERROR.match(line)


def errors_are_numbered_once():
    names, numbers = Counter(), Counter()
    for section, line, row in error_rows():
        if row is None:
            yield f"not of the form ERROR(name, number, status, exit code, title): {line}"
            continue
        name, number, _, code, _ = row.groups()
        names[name] += 1
        numbers[int(number)] += 1
        low, high = RANGES.get(section, (0, -1))
        if not low <= int(number) <= high:
            yield f"{name}: {number} is outside the range of \"{section}\" ({low}-{high})"
        if int(code) not in EXIT_CODES:
            yield f"{name}: exit code {code} has no meaning"
    for value, n in (names + Counter({f"number {k}": v for k, v in numbers.items()})).items():
        if n > 1:
            yield f"{value} appears {n} times"


def every_error_is_reported_somewhere():
    code = "".join(p.read_text(encoding="utf-8") for p in SRC.rglob("*.[chi]*") if p.suffix != ".def")
    for _, _, row in error_rows():
        if row and not re.search(rf"\b{row.group(1)}\b", code):
            yield f"{row.group(1)} is never used"


if __name__ == "__main__":
    run(
        walks_lead_somewhere,
        readme_is_short,
        links_lead_somewhere,
        errors_are_numbered_once,
        every_error_is_reported_somewhere,
    )
