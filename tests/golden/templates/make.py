"""Writes expected.json: what Jinja 3.1 with Hugging Face's settings makes of the templates here.

Run by hand where jinja2 is installed:  python3 make.py [FOLDER_OF_TOKENIZERS]
The folder holds deepseek-v3/ and qwen3/ with their tokenizer_config.json; of these two templates,
which are not ours, only the hashes of what they print are kept.
"""
import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = 1700000000


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("same"), [], [], body).set_lineno(line)

    def same(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                    extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = refuse
env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(f)


def render(source, variables):
    """The text, or None where the template refuses or is no template."""
    try:
        return env.from_string(source).render(**variables)
    except Exception:
        return None


def main():
    talks = json.loads((HERE / "conversations.json").read_text())
    for t in talks:
        t.setdefault("tools", None)
        t.update(bos_token="<bos>", eos_token="<eos>")
    families = {}
    for path in sorted(HERE.glob("*.jinja")):
        families[path.stem] = [render(path.read_text(), t) for t in talks]
    hashes = {}
    if len(sys.argv) > 1:
        for name in ("deepseek-v3", "qwen3"):
            config = json.loads((pathlib.Path(sys.argv[1]) / name / "tokenizer_config.json").read_text())
            texts = [render(config["chat_template"], t) for t in talks]
            hashes[name] = [None if x is None else hashlib.sha256(x.encode()).hexdigest() for x in texts]
    variables = {
        "a": 5, "b": -3, "f": 2.5, "s": "Hello wörld", "e": "", "l": [3, 1, 2],
        "m": [{"role": "user", "content": "hi"},
              {"role": "assistant", "content": None,
               "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": [1, 2.0, "z\n\"é"]}}}]}],
        "d": {"k": 1, "b": {"c": "x"}, "items2": 3}, "n": None, "t": True, "u": "U<|im|>V",
        "big": 1e16, "small": 1e-5, "name": "it's \"q\"", "emo": "a😀b\tc\x07",
    }
    snippets = [{"template": s, "text": render(s, variables)}
                for s in json.loads((HERE / "snippets.json").read_text())]
    out = {"families": families, "hashes": hashes, "variables": variables, "snippets": snippets}
    (HERE / "expected.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


main()
