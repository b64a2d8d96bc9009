"""Writes own.jsonl and gpt2.jsonl (see README.md)."""
import json
import pathlib
import sys

from tokenizers import ByteLevelBPETokenizer, Tokenizer

TEXTS = [
    "The boats came home before the rain.",
    "It's 7 o'clock, they're late; we've 12345 coins and he'll pay.",
    " leading blank, trailing blank ",
    "\n\n\nthree newlines\n",
    "tabs\t\tand  double   blanks",
    "carriage\r\nreturn\r\n\r\n",
    "if (x == 3) {\n\treturn y[i++] * 2.5e-3;\n}\n",
    "snake_case CamelCase kebab-case SCREAMING_CASE",
    "https://example.org/path?query=1&other=two#part",
    "café naïve Ångström Größe",
    "cafe\u0301 nai\u0308ve (decomposed)",
    "港の町は日の出の前に目を覚ます。",
    "漁師たちは100枚の網を、パン・バター。",
    "港口的小镇在日出之前醒来,一共有三千四百五十六人。",
    "Рыбаки несут сети к лодкам, их 25.",
    "تستيقظ المدينة قبل الشمس ١٢٣",
    "पानी पर नाव चलती है",
    "배는 집으로 돌아왔다",
    "emoji 👍🏽 family 👨‍👩‍👧 flag 🇯🇵",
    "½ ² ⅷ １２３ ①②③",
    "math: ∑ x² ≤ ∫ f(x) dx → ∞",
    "quotes “curly” ‘single’ «French» „low“",
    "\ufeffBOM and \u200bzero width\u200d",
    "no\u00a0break\u2003em\u3000wide\u2028line\u2029par\u0085nel",
    "control \x01\x02\x03abc \x7f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "0123456789012345678901234567890",
    "!!!???...---===***///\\\\\\",
    "'s 't 'RE 'LL 'd ' S",
    "x",
]

here = pathlib.Path(__file__).parent


def write(name, tokenizer):
    with open(here / name, "w") as out:
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            out.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False) + "\n")


write("own.jsonl", Tokenizer.from_file(str(here / "tokenizer.json")))
if len(sys.argv) > 1:
    gpt2 = pathlib.Path(sys.argv[1])
    write("gpt2.jsonl", ByteLevelBPETokenizer(str(gpt2 / "vocab.json"), str(gpt2 / "merges.txt")))
