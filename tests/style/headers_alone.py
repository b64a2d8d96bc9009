"""headers_alone.py CC... - every header of src/ compiles by itself, without a warning."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from style import SRC, name_of, run, sources

FLAGS = "-std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only".split()


def compile_alone(path):
    """What the compiler says about a file that holds this include twice (guards work) or ''."""
    include = f'#include "{path.relative_to(SRC)}"\n'
    command = sys.argv[1:] + FLAGS + ["-I", str(SRC), "-x", "c", "-"]
    done = subprocess.run(command, input=include * 2, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def headers_compile_alone():
    headers = sources("src", suffixes=(".h",))
    with ThreadPoolExecutor(2) as pool:
        for path, said in zip(headers, pool.map(compile_alone, headers)):
            if said:
                yield f"{name_of(path)}: " + said.strip().split("\n")[0]


if __name__ == "__main__":
    run(headers_compile_alone)
