#!/usr/bin/env python3
"""Training rate of fathom's dense shapes in PyTorch on the CPU: RMSNorm, RoPE, SwiGLU, tied head, fused
causal attention (SDPA), fused AdamW with clipping, optionally autocast to bf16 and torch.compile.

    torch_gpt.py SHAPE f32|bf16 eager|compile ROWS [TOKENS [SECONDS]]

SHAPE is 8x192, 8x320, 8x512, 12x512 or 12x768 (layers x width, as fathom's sizes dense-SHAPE); ROWS of 512
tokens are one forward, TOKENS (16384) one update, made of several forwards. Prints one line of JSON with the
best update in SECONDS (20).
"""

import json
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

ROW = 512
# vocabulary, width, layers, heads, inner width
SHAPES = {
    "8x192": (8192, 192, 8, 6, 512),
    "8x320": (16384, 320, 8, 5, 864),
    "8x512": (4096, 512, 8, 8, 1376),
    "12x512": (32768, 512, 12, 8, 1376),
    "12x768": (50304, 768, 12, 12, 2048),
}


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x, cos, sin):
        rows, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, tokens, 3, self.heads, -1).unbind(2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, tokens, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    c, s = cos[None, :, None, :].to(x.dtype), sin[None, :, None, :].to(x.dtype)
    return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)


class Model(nn.Module):
    def __init__(self, vocabulary, width, layers, heads, inner):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        size = width // heads
        rates = 1e4 ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.outer(torch.arange(ROW).float(), rates)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids, target):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), target.flatten())


def main():
    shape, kind, mode, rows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    tokens = int(sys.argv[5]) if len(sys.argv) > 5 else 16384
    seconds = float(sys.argv[6]) if len(sys.argv) > 6 else 20
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = Model(*SHAPES[shape])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    run = torch.compile(model) if mode == "compile" else model
    forwards = tokens // (ROW * rows)

    def update():
        for _ in range(forwards):
            ids, target = torch.randint(0, SHAPES[shape][0], (2, rows, ROW))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "bf16"):
                loss = run(ids, target) / forwards
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    update()  # compiles
    best, began = float("inf"), time.monotonic()
    while time.monotonic() - began < seconds:
        start = time.monotonic()
        update()
        best = min(best, time.monotonic() - start)
    done = {"peer": f"PyTorch {torch.__version__}", "shape": shape, "settings": f"{kind}, {mode}, {rows} rows",
            "tokens_per_second": forwards * rows * ROW / best}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
