"""summary.py - what is worth reading of one `meson test` run, and its sum.

Reads the log that meson writes (one JSON object a line). Every test program ends with the line
"N passed, N failed, N skipped"; one that does not (it crashed, or ran out of time) counts as one
failure, and so does one whose exit code disagrees with its line. Prints failures with what the
test said, skips with their reason, and the sum as the last line.
"""

import json
import re
import sys

LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
VERDICT = re.compile(r"^(ok  |skip|FAIL) (\S.*)$")


def sum_of(output):
    """The program's own last line, or None."""
    for line in reversed(output.rstrip().split("\n")):
        match = LINE.match(line)
        if match:
            return [int(n) for n in match.groups()]
    return None


def print_notable(name, output):
    """Failures and skips, each with the lines printed before its verdict."""
    said = []
    for line in output.split("\n"):
        match = VERDICT.match(line)
        if not match:
            said.append(line)
            continue
        if match.group(1) != "ok  ":
            print(f"{match.group(1)} {name}: {match.group(2)}")
            print("".join(f"  {s.rstrip()}\n" for s in said if s.strip()), end="")
        said = []


def main():
    total = [0, 0, 0]
    programs = 0
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            programs += 1
            name, output = test["name"].split(" / ")[-1], test.get("stdout") or ""
            counts = sum_of(output)
            print_notable(name, output)
            good = test["returncode"] == 0 and test["result"] in ("OK", "SKIP")
            if counts is None or good != (counts[1] == 0):
                counts = [0, 1, 0] if counts is None else [counts[0], counts[1] + 1, counts[2]]
                print(f"FAIL {name}: {test['result']}, exit code {test['returncode']}")
                tail = (output + "\n" + (test.get("stderr") or "")).rstrip().split("\n")[-40:]
                print("".join(f"  {s}\n" for s in tail), end="")
            total = [a + b for a, b in zip(total, counts)]
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 0 if programs > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
