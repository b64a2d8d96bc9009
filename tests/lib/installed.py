"""installed.py BUILD MAKE_MODEL CC... - libfathom as another project meets it: installed into an empty
prefix, found by pkg-config, built against as a shared and as a static library, and run."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from style import ROOT, Skip, run

BUILD, MAKE_MODEL, CC = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
ROOM = Path(tempfile.mkdtemp(prefix="fathom-installed-"))
QUESTION = '[{"role": "user", "content": "What is a fathom?"}]'
ANSWERS = {}


def sh(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def install():
    """The prefix below ROOM, filled once."""
    if not shutil.which("pkg-config"):
        raise Skip("pkg-config is not installed")
    options = json.loads(sh("meson", "introspect", "--buildoptions", BUILD))
    prefix = Path(next(o["value"] for o in options if o["name"] == "prefix"))
    here = ROOM / "root" / prefix.relative_to("/")
    if not here.exists():
        sh("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", env={**os.environ, "DESTDIR": str(ROOM / "root")})
        sh(MAKE_MODEL, ROOM / "tiny")
    return here


def library(name):
    return next(install().rglob(name))


def flags(*asked):
    pc = library("fathom.pc")
    return sh("pkg-config", f"--define-variable=prefix={install()}", *asked, "fathom",
              env={**os.environ, "PKG_CONFIG_PATH": str(pc.parent)}).split()


def the_pkg_config_file_tells_the_version():
    pc = library("fathom.pc")
    version = sh("pkg-config", "--modversion", "fathom", env={**os.environ, "PKG_CONFIG_PATH": str(pc.parent)})
    header = library("fathom.h").read_text(encoding="utf-8")
    parts = re.findall(r"#define FATHOM_VERSION_(?:MAJOR|MINOR|PATCH) +(\d+)", header)
    if version.strip() != ".".join(parts):
        yield f"fathom.pc says {version.strip()}, fathom.h {'.'.join(parts)}"


def only_fathom_names_are_exported():
    declared = set(re.findall(r"\b(fathom_\w+)\(", "".join(
        re.findall(r"FATHOM_API[^;]*;", library("fathom.h").read_text(encoding="utf-8")))))
    for name, options in (("libfathom.so", ["-D"]), ("libfathom.a", ["-g"])):
        symbols = sh("nm", *options, "--defined-only", library(name))
        found = {line.split()[-1].split("@")[0] for line in symbols.split("\n") if " T " in line
                 or re.search(r" [BCDGRSTVWi] ", line)}
        for other in sorted(s for s in found if not s.startswith("fathom_")):
            yield f"{name} exports {other}"
        for missing in sorted(declared ^ found):
            yield f"{name}: {missing} is in one of header and library only"
    if "libfathom.so.0" not in sh("readelf", "-d", library("libfathom.so")):
        yield "the SONAME is not libfathom.so.0"


def build_and_run(kind, link, **environment):
    program = ROOM / f"embed-{kind}"
    sh(*CC, ROOT / "examples" / "embed.c", "-std=c17", "-Wall", "-Wextra", "-Werror", "-o", program, *link)
    ANSWERS[kind] = sh(program, ROOM / "tiny", QUESTION, env={**os.environ, **environment})
    return program


def the_example_runs_with_the_shared_library():
    where = library("libfathom.so").parent
    program = build_and_run("shared", flags("--cflags", "--libs"), LD_LIBRARY_PATH=str(where))
    if "libfathom.so.0" not in sh("readelf", "-d", program):
        yield "it does not need libfathom.so.0"
    if not ANSWERS["shared"]:
        yield "no answer"


def the_example_runs_with_the_static_library():
    """libfathom.a with the shared libraries of the system, and a wholly static program."""
    link = [str(library("libfathom.a")) if f == "-lfathom" else f for f in flags("--cflags", "--static", "--libs")]
    program = build_and_run("archive", link)
    if "libfathom" in sh("readelf", "-d", program):
        yield "it needs the shared library"
    build_and_run("static", ["-static", *flags("--cflags", "--static", "--libs")])
    for kind in ("archive", "static"):
        if ANSWERS[kind] != ANSWERS.get("shared"):
            yield f"{kind}: another answer than with the shared library"


def the_example_says_what_is_wrong():
    where = library("libfathom.so").parent
    done = subprocess.run([ROOM / "embed-shared", "no/such/model", QUESTION], capture_output=True, text=True,
                          check=False, env={**os.environ, "LD_LIBRARY_PATH": str(where)})
    if done.returncode != 1 or "no/such/model" not in done.stderr or done.stdout:
        yield f"exit {done.returncode}: {done.stdout}{done.stderr}"


def the_example_is_short():
    code = [line for line in (ROOT / "examples" / "embed.c").read_text(encoding="utf-8").split("\n")
            if line.strip() and not line.strip().startswith(("/*", "*"))]
    if len(code) > 25:
        yield f"{len(code)} lines of code"


def the_header_is_cplusplus():
    if not shutil.which("g++"):
        raise Skip("g++ is not installed")
    source = ROOM / "use.cpp"
    source.write_text('#include <fathom.h>\nint main() { fathom_answer_options o = fathom_answer_defaults();\n'
                      'return fathom_version()[0] == \'9\' || o.size == 0; }\n', encoding="utf-8")
    sh("g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", source, "-o", ROOM / "use", *flags("--cflags", "--libs"))
    sh(ROOM / "use", env={**os.environ, "LD_LIBRARY_PATH": str(library("libfathom.so").parent)})
    yield from ()


if __name__ == "__main__":
    try:
        run(
            the_pkg_config_file_tells_the_version,
            only_fathom_names_are_exported,
            the_example_runs_with_the_shared_library,
            the_example_runs_with_the_static_library,
            the_example_says_what_is_wrong,
            the_example_is_short,
            the_header_is_cplusplus,
        )
    finally:
        shutil.rmtree(ROOM, ignore_errors=True)
