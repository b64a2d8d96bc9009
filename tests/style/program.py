"""program.py FATHOM - facts about the finished program: libraries, size, time of --help, scripts."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from style import ROOT, Skip, name_of, run, sources

PROGRAM = Path(sys.argv[1]).resolve()


def is_instrumented():
    return b"__asan_init" in PROGRAM.read_bytes() or b"__tsan_init" in PROGRAM.read_bytes()


def core(library):
    """"libjansson.so.4" and "jansson" -> "jansson"; "libz.so.1" and "zlib" -> "z"."""
    name = library.split(".so")[0].lower()
    return re.sub(r"^lib|lib$|-.*$", "", name)


def libraries_are_documented():
    """ldd shows what docs/dependencies.md lists, and the C library."""
    if is_instrumented():
        raise Skip("sanitizers bring libraries of their own")
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    table = page.split("Tests only")[0]
    listed = {core(word) for row in re.findall(r"^\| ([^|]+) \|", table, re.M)
              for word in re.findall(r"[A-Za-z0-9]+", row)}
    ldd = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"^\s*(\S+)", ldd, re.M):
        name = Path(library).name
        if not re.match(r"linux-vdso|ld-linux|libc\.so|libm\.so", name) and core(name) not in listed:
            yield f"{name} is linked, but docs/dependencies.md does not list it"


def program_is_small():
    if is_instrumented():
        raise Skip("sanitizers make it large")
    stripped = PROGRAM.stat().st_size
    if shutil.which("size"):
        columns = subprocess.run(["size", PROGRAM], capture_output=True, text=True, check=True)
        stripped = sum(int(n) for n in columns.stdout.split("\n")[1].split()[:2])
    if stripped > 8 << 20:
        yield f"{stripped} bytes of code and data, at most {8 << 20}"


def help_is_quick():
    if is_instrumented():
        raise Skip("sanitizers make it slow")
    best = 1.0
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([PROGRAM, "--help"], stdout=subprocess.DEVNULL, check=True)
        best = min(best, time.perf_counter() - began)
    if best > 0.2:  # the bar is 20; a busy machine must not fail a correctness test
        yield f"fathom --help takes {best * 1000:.1f} ms, far above the 20 it should"


def scripts_pass_shellcheck():
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    scripts = [ROOT / "start", ROOT / "check", ROOT / ".ci" / "run", *sorted(ROOT.rglob("tools/*.sh"))]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    yield from done.stdout.split("\n") if done.returncode else []


def sources_are_formatted():
    program = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not program:
        raise Skip("clang-format is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if "version 14" not in version.stdout:
        raise Skip("clang-format is not version 14; others break lines elsewhere")
    for path in sources("src", "tests", suffixes=(".c", ".h")):
        formatted = subprocess.run([program, path], capture_output=True, text=True, check=True).stdout
        if formatted != path.read_text(encoding="utf-8"):
            yield f"{name_of(path)}: clang-format -i would change it"


if __name__ == "__main__":
    run(
        libraries_are_documented,
        program_is_small,
        help_is_quick,
        scripts_pass_shellcheck,
        sources_are_formatted,
    )
