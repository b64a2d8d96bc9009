#!/usr/bin/env python3
"""Random weights of fathom's size dense-8x512 (27 M parameters) as a GGUF file that llama.cpp trains.

    llama_gguf.py OUT.gguf        needs the packages gguf and numpy

The vocabulary has the 256 bytes and fills up with words that no text contains, so every byte of a text is
a token: as fathom's --input FILE reads it.
"""

import sys

import gguf
import numpy

VOCABULARY, WIDTH, LAYERS, HEADS, INNER, CONTEXT = 4096, 512, 8, 8, 1376, 512


def add_vocabulary(out):
    names = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{i:02X}>".encode() for i in range(256)]
    types = [gguf.TokenType.UNKNOWN] + 2 * [gguf.TokenType.CONTROL] + 256 * [gguf.TokenType.BYTE]
    while len(names) < VOCABULARY:
        types.append(gguf.TokenType.UNUSED)
        names.append(f"<unused{len(names)}>".encode())
    out.add_tokenizer_model("llama")
    out.add_token_list(names)
    out.add_token_scores([0.0] * VOCABULARY)
    out.add_token_types(types)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)


def add_weights(out):
    random = numpy.random.default_rng(1)

    def matrix(name, rows, columns):
        out.add_tensor(name, random.normal(0, 0.02, (rows, columns)).astype(numpy.float32))

    def norm(name):
        out.add_tensor(name, numpy.ones(WIDTH, numpy.float32))

    matrix("token_embd.weight", VOCABULARY, WIDTH)
    norm("output_norm.weight")
    for i in range(LAYERS):
        norm(f"blk.{i}.attn_norm.weight")
        for part in ("q", "k", "v", "output"):
            matrix(f"blk.{i}.attn_{part}.weight", WIDTH, WIDTH)
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.ffn_gate.weight", INNER, WIDTH)
        matrix(f"blk.{i}.ffn_up.weight", INNER, WIDTH)
        matrix(f"blk.{i}.ffn_down.weight", WIDTH, INNER)


def main():
    out = gguf.GGUFWriter(sys.argv[1], "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(VOCABULARY)
    add_vocabulary(out)
    add_weights(out)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main()
