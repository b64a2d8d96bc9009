"""layers.py - src/LAYERS is the law: who may include whom, and only public headers; and the rules
of the house that a regular expression can see."""

import re
from collections import defaultdict

from style import ROOT, SRC, code_of, name_of, run, sources

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
ROW = re.compile(r"^(\w+)\s*\[([^\]]*)\]:(.*)$")


def read_layers():
    """{folder: (public headers, folders it may use)} in the order of the file."""
    layers = {}
    for line in (SRC / "LAYERS").read_text(encoding="utf-8").split("\n"):
        if line.strip() and not line.startswith("#"):
            folder, public, below = ROW.match(line).groups()
            layers[folder] = (public.split(), below.split())
    return layers


LAYERS = read_layers()


def folder_of(path):
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else "main"


def is_public(folder, header):
    public = LAYERS[folder][0]
    return not header.endswith("_internal.h") and (public == ["*"] or header in public)


def layers_are_ordered():
    """A folder may name only folders above it, so cycles cannot exist."""
    above = []
    for folder, (_, below) in LAYERS.items():
        for other in below:
            if other not in above:
                yield f"src/LAYERS: {folder} names {other}, which does not stand above it"
        above.append(folder)


def folders_are_listed():
    for folder in sorted(p for p in SRC.iterdir() if p.is_dir()):
        if folder.name not in LAYERS:
            yield f"src/{folder.name} is not in src/LAYERS"
    for folder, (public, _) in LAYERS.items():
        for header in public:
            if header != "*" and not (SRC / folder / header).exists():
                yield f"src/LAYERS lists {folder}/{header}, which does not exist"


def includes_go_down():
    for path in sources("src"):
        folder = folder_of(path)
        for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            other, _, header = included.partition("/")
            if header == "":
                yield f'{name_of(path)}: "{included}" is not written from src/'
            elif not (SRC / included).exists() and not (SRC / f"{included}.in").exists():
                yield f'{name_of(path)}: "{included}" does not exist'
            elif other != folder and other not in LAYERS[folder][1]:
                yield f"{name_of(path)}: {folder} may not include {other}"
            elif other != folder and not is_public(other, header):
                yield f"{name_of(path)}: {included} is private to {other}"


def own_header_comes_first():
    """It proves that the header stands alone; the internal header of the folder brings it along."""
    for path in sources("src", suffixes=(".c",)):
        own = f"{folder_of(path)}/{path.stem}.h"
        first = re.search(r'^\s*#\s*include\s+["<]([^">]+)', path.read_text(encoding="utf-8"), re.M)
        if not (SRC / own).exists() or not first:
            continue
        internal = re.fullmatch(rf"{folder_of(path)}/\w+_internal\.h", first.group(1))
        if first.group(1) != own and not internal:
            yield f"{name_of(path)}: {own} is not included first"


def file_names_are_unique():
    named = defaultdict(list)
    for path in sources("src", "tests"):
        named[path.name].append(name_of(path))
    for name, paths in sorted(named.items()):
        if len(paths) > 1:
            yield f"{name}: {', '.join(paths)}"


def files_are_readable():
    for path in sources("src", "tests"):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > 1000:
            yield f"{name_of(path)}: {lines} lines; a file has one subject and at most 1000"


BANNED = "strcpy strcat strncpy sprintf vsprintf strtok gets atoi atol atof localtime gmtime alloca"
ENDING = "exit abort quick_exit"
HEAP = "malloc calloc realloc aligned_alloc posix_memalign strdup strndup asprintf"


def calls(path, words):
    code = code_of(path)
    for match in re.finditer(rf"(?<![\w.>])({'|'.join(words.split())})\s*\(", code):
        yield f"{name_of(path)}:{code.count(chr(10), 0, match.start()) + 1}: {match.group(1)}"


def banned_functions():
    for path in sources("src", "tests"):
        yield from calls(path, BANNED)


def only_main_ends_the_program():
    for path in sources("src"):
        yield from calls(path, ENDING)


def one_door_to_the_heap():
    """Else failures cannot be injected there, nor leaks counted."""
    for path in sources("src"):
        if path.name != "memory.c":
            yield from calls(path, HEAP)


def no_loose_ends():
    for path in sources("src", "tests"):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                yield f"{name_of(path)}:{number}: {line.strip()}"


def every_file_begins_with_its_essay():
    for path in sources("src"):
        if not path.read_text(encoding="utf-8").startswith(f"/* {path.name} - "):
            yield f'{name_of(path)}: does not begin with "/* {path.name} - what it is"'
    for path in sources("tests"):
        if not path.read_text(encoding="utf-8").startswith("/* "):
            yield f"{name_of(path)}: does not begin with a comment that says what it tests"


if __name__ == "__main__":
    run(
        layers_are_ordered,
        folders_are_listed,
        includes_go_down,
        own_header_comes_first,
        file_names_are_unique,
        files_are_readable,
        banned_functions,
        only_main_ends_the_program,
        one_door_to_the_heap,
        no_loose_ends,
        every_file_begins_with_its_essay,
    )
