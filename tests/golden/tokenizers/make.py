"""Writes bytes.json, marked.json, families.json and expected.json (see README.md).

Run by hand where `tokenizers` is installed:  python3 make.py [FOLDER_OF_TOKENIZERS]
The folder holds deepseek-v3/ and qwen3/ with tokenizer.json.gz, and gpt2/ with vocab.json and
merges.txt; of these, which are not ours, only hashes of ids are kept.
"""
import gzip
import json
import pathlib
import sys

from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, decoders, models, trainers
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

HERE = pathlib.Path(__file__).parent
LINES = 10000
MASK = (1 << 64) - 1

# -- the text: test_golden_families.c makes the same --

SCRIPTS = [[0x61, 26], [0x3B1, 25], [0x430, 32], [0x627, 36], [0x905, 73], [0x4E00, 900],
           [0x3041, 86], [0xAC00, 600], [0xE01, 46]]
ODD = ["don't", "WE'RE", "it'S", "\r\n", "\n\n", "\t", "\u00a0", "\u3000", "\u2028", " \n ", "e\u0301",
       "\u0301", "\ufb01", "\u2460", "\u00bd", "\u0663\u0664", "\u0967\u0968", "\U0001f600\U0001f44d\U0001f3fd",
       "a\u200db", "<s>", " <think> ", "<tool>", "_x1", "\u00bf", "\u2026", "\u201cq\u201d", "\u01c5", "\u0130",
       "\x1f", "\u1100\u1161\u11a8", "\u212b", " of the ", "often of therefore", "caf\u00e9", "cafe\u0301", "a--b",
       "!!!", "...", "x - - y", "go . . .", "hey! ! !", "x+=y;//", "https://x.y/?q=1", "CamelCase", "TITLE", "123,456.78", "\u1680", "\u0085"]


class Draw:
    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.state >> 33) % bound


def word(script, number):
    """A word of a script by its number: the same wherever it stands."""
    draw = Draw(script * 1000003 + number)
    first, count = SCRIPTS[script]
    made = "".join(chr(first + draw.below(count)) for _ in range(1 + draw.below(6)))
    return made.capitalize() if script == 0 and draw.below(6) == 0 else made


def line(draw):
    script, parts = draw.below(len(SCRIPTS)), []
    for _ in range(3 + draw.below(9)):
        parts.append(word(script, draw.below(1 + draw.below(200))))
        choice = draw.below(12)
        if choice == 0:
            parts.append(ODD[draw.below(len(ODD))])
        elif choice == 1:
            parts.append(str(draw.below(100000)))
        elif choice == 2:
            parts.append("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"[draw.below(32)])
        elif choice == 3:
            parts.append("  ")
        elif choice == 4:
            parts.append(", ")
        elif choice == 5:
            parts.append("\n")
        elif choice > 6:
            parts.append(" ")
    return "".join(parts)


def text(seed):
    draw = Draw(seed)
    return [line(draw) for _ in range(LINES)]


# -- the vocabularies: merges know no borders, so that every cut shows in the ids --

SPECIAL = ["<s>", "</s>", "<think>"]
BYTE_NAMES = ["<0x%02X>" % b for b in range(256)]


def make_bytes(lines):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = p.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=p.ByteLevel.alphabet(), special_tokens=SPECIAL,
        max_token_length=20, show_progress=False))
    return json.loads(tokenizer.to_str())


def make_marked(lines):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = n.Replace(" ", "\u2581")
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=3200, special_tokens=["<unk>"] + SPECIAL + BYTE_NAMES, limit_alphabet=1500,
        max_token_length=12, show_progress=False))
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [a for a in made["added_tokens"] if a["content"] not in BYTE_NAMES]
    made["model"].update(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    return made


# -- the families --

CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER
          + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ENDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + ENDS + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+"
         + LOWER + "*" + ENDS
         + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
V3 = ["\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
      "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


def llm_letters():
    """The letters that deepseek-llm's file lists, from the matcher's table of ranges."""
    source = (HERE.parents[2] / "src" / "tokens" / "pretokenize.c").read_text(encoding="utf-8")
    table = source[source.index("llm_letters[][2]"):]
    table = table[table.index("{") + 1:table.index("};")]
    ranges = [[int(v, 16) for v in pair.split(",")] for pair in table.replace(" ", "").replace("\n", "")
              .strip(",").strip("{}").split("},{")]
    return "".join(f"{chr(a)}-{chr(b)}" if a < b else chr(a) for a, b in ranges)


def cut(*regexes):
    splits = [p.Split(Regex(r), "isolated") for r in regexes]
    return p.Sequence(splits + [p.ByteLevel(add_prefix_space=False, use_regex=False)])


def llm(*last):
    return p.Sequence([p.Split(Regex(r), "isolated") for r in (
        "[\r\n]", "\\s?[A-Za-z" + llm_letters() + "]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", CJK)]
        + [p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False, use_regex=False)])


BYTES = p.ByteLevel(add_prefix_space=False)
BACK = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
STRIPPED = decoders.Sequence(BACK + [decoders.Strip(" ", 1, 0)])


def added(content, **how):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"content": content, **flags, **how}


# name -> pre-tokenizer, normalizer, names in GGUF files, further keys
FAMILIES = {
    "gpt-2": dict(pre=BYTES, gguf=["gpt-2", "mpt", "olmo", "jais", "exaone4"]),
    "deepseek-llm": dict(pre=llm(), gguf=["deepseek-llm"]),
    "deepseek-coder": dict(pre=p.Sequence(
        [p.Split(Regex(r), "isolated") for r in ("[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK)]
        + [p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False, use_regex=False)]),
        gguf=["deepseek-coder"]),
    "deepseek-v3": dict(pre=cut(*V3), gguf=["deepseek-v3", "hunyuan-dense"]),
    "llama3": dict(pre=cut(LLAMA3), ignore_merges=True, gguf=["llama-bpe", "llama3", "falcon3"]),
    "qwen2": dict(pre=cut(LLAMA3.replace("{1,3}", "")), normal=n.NFC(), gguf=["qwen2", "deepseek-r1-qwen"]),
    "smollm": dict(pre=p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)]),
                   gguf=["smollm", "starcoder", "exaone", "minerva-7b"]),
    "glm4": dict(pre=cut(LLAMA3), gguf=["glm4", "chatglm-bpe", "dbrx", "smaug-bpe"]),
    "gpt-4o": dict(pre=cut(GPT4O), gguf=["gpt-4o", "llama4"]),
    "tekken": dict(pre=cut(TEKKEN), ignore_merges=True, gguf=["tekken"]),
    "qwen35": dict(pre=cut(QWEN35), gguf=["qwen35"]),
    "falcon": dict(pre=cut(PUNCTUATION, GPT2, "[0-9][0-9][0-9]"), gguf=["falcon"]),
    "default": dict(pre=cut(PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"), gguf=["default"]),
    "bloom": dict(pre=cut(BLOOM), gguf=["bloom", "poro-chat", "gpt3-finnish"]),
    "viking": dict(pre=cut(BLOOM, r"\p{N}"), gguf=["viking"]),
    "nfkc": dict(pre=BYTES, normal=n.NFKC()),
    "nfd": dict(pre=BYTES, normal=n.NFD()),
    "replace": dict(pre=BYTES, normal=n.Sequence(
        [n.NFKD(), n.Replace("a", "bb"), n.Replace(Regex(r"\s+"), " "), n.Replace(Regex(r"[0-9]+"), "#"),
         n.Prepend(">")])),
    "added": dict(pre=BYTES, added=[
        added("of the", single_word=True), added("<tool>", lstrip=True, rstrip=True),
        added("caf\u00e9", normalized=True), added("- -", rstrip=True), added(". .", lstrip=True, single_word=True)]),
    "added-nfc": dict(pre=BYTES, normal=n.NFC(), added=[
        added("e\u0301", normalized=True), added("often of", single_word=True, lstrip=True), added("! !", rstrip=True),
        added("\u212b", normalized=True, lstrip=True)]),
    "llama2": dict(marked=True, normal=n.Sequence([n.Prepend("\u2581"), n.Replace(" ", "\u2581")]), back=STRIPPED),
    "mistral": dict(marked=True, pre=p.Metaspace("\u2581", "first", False), back=STRIPPED),
    "metaspace": dict(marked=True, pre=p.Metaspace("\u2581", "always", True), back=STRIPPED),
    "gemma": dict(marked=True, normal=n.Replace(" ", "\u2581"), back=decoders.Sequence(BACK)),
    "marked-nfkc": dict(marked=True, normal=n.Sequence([n.NFKC(), n.Prepend("\u2581"), n.Replace(" ", "\u2581")]),
                        back=STRIPPED),
}


def state(part):
    """The JSON of a part: as a tokenizer that has it would be written."""
    whole = Tokenizer(models.BPE())
    if isinstance(part, n.Normalizer):
        whole.normalizer = part
        return json.loads(whole.to_str())["normalizer"]
    if isinstance(part, p.PreTokenizer):
        whole.pre_tokenizer = part
        return json.loads(whole.to_str())["pre_tokenizer"]
    whole.decoder = part
    return json.loads(whole.to_str())["decoder"]


def family_json(spec, base):
    """What this family's file has in place of the base's."""
    changes = {"normalizer": state(spec["normal"]) if "normal" in spec else None,
               "pre_tokenizer": state(spec["pre"]) if "pre" in spec else None,
               "decoder": state(spec["back"]) if "back" in spec else base["decoder"]}
    if "added" in spec:
        first = len(base["model"]["vocab"])
        assert not any(a["content"] in base["model"]["vocab"] for a in spec["added"])
        changes["added_tokens"] = base["added_tokens"] + [
            {"id": first + i, **a} for i, a in enumerate(spec["added"])]
    return changes


def hash_ids(encoded):
    """FNV-1a over the ids, four bytes each, and -1 behind each line."""
    value = 0xCBF29CE484222325
    for e in encoded:
        for byte in b"".join(i.to_bytes(4, "little") for i in e.ids) + b"\xff\xff\xff\xff":
            value = (value ^ byte) * 0x100000001B3 & MASK
    return f"{value:016x}"


def expect(tokenizer, lines, shown):
    encoded = tokenizer.encode_batch(lines, add_special_tokens=False)
    return {"hash": hash_ids(encoded), "ids": sum(len(e.ids) for e in encoded),
            "lines": [tokenizer.encode(s, add_special_tokens=False).ids for s in shown]}


def published(folder, lines):
    made = {}
    for name in "deepseek-v3", "qwen3":
        with gzip.open(folder / name / "tokenizer.json.gz") as f:
            made[name] = expect(Tokenizer.from_str(f.read().decode()), lines, [])
    gpt2 = ByteLevelBPETokenizer(str(folder / "gpt2" / "vocab.json"), str(folder / "gpt2" / "merges.txt"))
    made["gpt2"] = expect(gpt2, lines, [])
    return made


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n",
                             encoding="utf-8")


def main():
    # A merge must not make what is an added token.
    training, lines = [s for s in text(1) if "<s>" not in s and "<t" not in s], text(2)
    shown = [f"one{odd}two {odd} three" for odd in ODD] + ["", " ", "  leading", "trailing  ", "\n"]
    bases = {False: make_bytes(training), True: make_marked(training)}
    families, expected = {}, {}
    for name, spec in FAMILIES.items():
        base = bases[spec.get("marked", False)]
        families[name] = {"base": "marked.json" if "marked" in spec else "bytes.json",
                          "gguf": spec.get("gguf", []), "ignore_merges": spec.get("ignore_merges", False),
                          "changes": family_json(spec, base)}
        whole = json.loads(json.dumps({**base, **families[name]["changes"]}))
        whole["model"]["ignore_merges"] = families[name]["ignore_merges"]
        expected[name] = expect(Tokenizer.from_str(json.dumps(whole)), lines, shown)
        print(name, expected[name]["ids"], expected[name]["hash"])
    if len(sys.argv) > 1:
        foreign = published(pathlib.Path(sys.argv[1]), lines)
    else:
        foreign = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))["published"]
    write("bytes.json", bases[False])
    write("marked.json", bases[True])
    write("families.json", families)
    write("expected.json", {"scripts": SCRIPTS, "odd": ODD, "lines": LINES, "seed": 2, "shown": shown,
                            "families": expected, "published": foreign})


main()
