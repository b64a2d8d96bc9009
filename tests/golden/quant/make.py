"""Writes decode.txt: what the package `gguf` (0.19, PyPI) makes of blocks whose bytes follow a formula.

    python3 -m venv venv && venv/bin/pip install gguf && venv/bin/python make.py > decode.txt

Byte i of a type is the upper byte of x(i + 1), x(0) = number of the type, x(i + 1) = 1664525 x(i) +
1013904223 modulo 2^32; halves are made finite by clearing their second highest bit. A line is: name,
elements, FNV-1a (64 bits) over the bytes of all f32, and the bits of 12 of them, evenly spaced.
"""
import numpy as np
from gguf import GGMLQuantizationType as T, quants, GGML_QUANT_SIZES

HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
          "MXFP4": [], "F16": [0], "BF16": [0]}
BLOCKS = {1: 256, 32: 40, 256: 5}

for name, halves in HALVES.items():
    kind = T[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = BLOCKS[elements]
    x, data = int(kind), bytearray()
    for _ in range(blocks * size):
        x = (1664525 * x + 1013904223) % 2**32
        data.append(x >> 24)
    for b in range(blocks):
        for h in halves:
            data[b * size + h + 1] &= 0xBF
    raw = np.frombuffer(bytes(data), dtype=np.uint8)
    if name in ("F16",):
        out = raw.view(np.float16).astype(np.float32)
    else:
        out = quants.dequantize(raw.reshape(1, -1), kind).reshape(-1).astype(np.float32)
    bits = out.view(np.uint32)
    h = 0xCBF29CE484222325
    for byte in out.tobytes():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    some = [f"{int(bits[i * len(bits) // 12]):08x}" for i in range(12)]
    print(name, len(bits), f"{h:016x}", *some)
