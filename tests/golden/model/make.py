"""make.py OUT - logits of tiny models, computed by transformers.

For each family a random model of a few thousand weights is built from its config class, saved, and its
tensors are replaced by numbers of an integer formula (weight below; tests/model/golden_weights.c has the
same one), so that only the configuration, the names and shapes of the tensors as saved, the ids of a
prompt and the logits need to be stored. The weights are exact in bf16 and f16.

    python -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python make.py tests/golden/model

A case file is JSON: config (config.json as transformers wrote it), tensors {name: shape}, ids, and for
f32 and bf16 the logits of every position in one prefill and the smallest routing margin of every
position: by how much the least chosen expert (and group) beats the best one left out, smallest over
layers; 1 where nothing is routed. Prompts are random, but where a token would be routed by a margin
below MARGIN another one is tried: ids whose choice hangs on rounding would compare nothing. f32.decode is
the largest difference between prefill and token by token with the cache, in transformers itself.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

N = 28  # positions: beyond the original context of the scaled ones
MARGIN = 0.04
MASK = 0xFFFFFFFF


def mix(x):
    """32 bits to 32 bits; any fixed mixing would do."""
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK
    x ^= x >> 15
    x = x * 0x846CA68B & MASK
    return x ^ x >> 16


def text_hash(text):
    """FNV-1a, 32 bits."""
    h = 0x811C9DC5
    for byte in text.encode():
        h = (h ^ byte) * 0x01000193 & MASK
    return h


def scale_of(name):
    """Deviation of a tensor by the end of its name; powers of two keep numbers exact."""
    if name.endswith("embed_tokens.weight"):
        return 1.0
    if name.endswith("mlp.gate.weight"):
        return 0.5
    if name.endswith("e_score_correction_bias"):
        return 0.125
    if name.endswith(".bias"):
        return 0.5
    return 0.25


def weight(name, shape):
    """128 levels around 0 times the scale; norms lie around 1."""
    count = 1
    for n in shape:
        count *= n
    seed = text_hash(name)
    levels = [(mix(seed + i * 0x9E3779B9 & MASK) >> 24) - 128 for i in range(count)]
    t = torch.tensor(levels, dtype=torch.float32)
    if name.endswith("norm.weight"):
        t = 1 + torch.div(t, 4, rounding_mode="floor") / 128
    else:
        t = t / 128 * scale_of(name)
    return t.reshape(shape)


COMMON = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 2, "max_position_embeddings": 64,
          "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None, "tie_word_embeddings": False}
DENSE = {**COMMON, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
MLA = {**COMMON, "num_hidden_layers": 3, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 4,
       "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 6,
       "moe_intermediate_size": 16, "first_k_dense_replace": 1}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16,
        "beta_fast": 8, "beta_slow": 1}
V3 = {**MLA, "q_lora_rank": 12, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 3,
      "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_mtp_layers": 0}

CASES = {
    "llama": ("llama", {**DENSE, "rms_norm_eps": 1e-5}),
    "llama-llama3": ("llama", {**DENSE, "num_key_value_heads": 1, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
    "llama-yarn": ("llama", {**DENSE, "head_dim": 12, "tie_word_embeddings": True, "rope_parameters": YARN}),
    "llama-linear": ("llama", {**DENSE, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0,
                                                            "factor": 2.0}}),
    "qwen2": ("qwen2", {**DENSE, "tie_word_embeddings": True, "rope_parameters": {
        "rope_type": "default", "rope_theta": 1000000.0}}),
    "qwen3": ("qwen3", {**DENSE, "head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3-yarn": ("qwen3", {**DENSE, "head_dim": 16, "rope_parameters": YARN}),
    "deepseek_v2-lite": ("deepseek_v2", {**MLA, "q_lora_rank": None, "n_routed_experts": 6, "n_shared_experts": 2,
                                         "num_experts_per_tok": 2, "topk_method": "greedy", "norm_topk_prob": False,
                                         "routed_scaling_factor": 1.0, "rope_parameters": {
                                             **YARN, "mscale": 0.707, "mscale_all_dim": 0.707}}),
    "deepseek_v2": ("deepseek_v2", {**MLA, "q_lora_rank": 12, "n_routed_experts": 8, "n_shared_experts": 2,
                                    "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2,
                                    "topk_method": "group_limited_greedy", "norm_topk_prob": False,
                                    "routed_scaling_factor": 4.0, "rope_parameters": {
                                        **YARN, "mscale": 0.707, "mscale_all_dim": 0.707}}),
    "deepseek_v3": ("deepseek_v3", {**V3, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    "deepseek_v3-yarn": ("deepseek_v3", {**V3, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "deepseek_v3-amplitude": ("deepseek_v3", {**V3, "rope_parameters": {**YARN, "mscale": 1.0,
                                                                        "mscale_all_dim": 0.5}}),
}


def gap(scores, keep):
    """By how much the last of the `keep` best beats the next; 1 if none is left out."""
    order = scores.sort(dim=-1, descending=True).values
    if keep >= order.shape[-1]:
        return torch.ones(order.shape[0])
    return order[:, keep - 1] - order[:, keep]


def margin_of(gate, config, logits):
    """Smallest gap of groups and experts, [tokens]."""
    logits = logits.float()
    v3 = config.model_type == "deepseek_v3"
    scores = logits.sigmoid() + gate.e_score_correction_bias.float() if v3 else logits.softmax(-1)
    margin = torch.ones(scores.shape[0])
    groups = config.n_group or 1
    if groups > 1 and (v3 or config.topk_method == "group_limited_greedy"):
        per = scores.view(len(scores), groups, -1)
        group = per.topk(2, -1).values.sum(-1) if v3 else per.max(-1).values
        margin = torch.minimum(margin, gap(group, config.topk_group))
        kept = group.topk(config.topk_group, -1).indices
        mask = torch.zeros_like(group).scatter_(1, kept, 1).bool()
        scores = per.masked_fill(~mask.unsqueeze(-1), float("-inf")).flatten(1)
    return torch.minimum(margin, gap(scores, config.num_experts_per_tok))


def watch(model):
    """Collects margins of every routed layer."""
    margins = []
    for name, module in model.named_modules():
        if name.endswith("mlp.gate") and hasattr(module, "top_k"):
            module.register_forward_hook(
                lambda m, _, out: margins.append(margin_of(m, model.config, out[0].detach())))
    return margins


@torch.no_grad()
def choose_prompt(model, vocab):
    """Random ids, each tried again while its margin is low."""
    margins, ids, draw = watch(model), [], 77
    while len(ids) < N:
        best = (-1.0, 0)
        for _ in range(8):
            draw += 1
            token = mix(draw) % vocab
            margins.clear()
            model(torch.tensor([ids + [token]]))
            low = min((m[-1].item() for m in margins), default=1.0)
            best = max(best, (low, token))
            if low >= MARGIN:
                break
        ids.append(best[1])
    return ids


@torch.no_grad()
def run(model, ids, digits, with_decode):
    margins = watch(model)
    logits = model(torch.tensor([ids])).logits[0].float()
    margin = torch.stack(margins).min(0).values if margins else torch.ones(len(ids))
    result = {"logits": [[float(f"{v:.{digits}g}") for v in row] for row in logits.tolist()],
              "margin": [round(v, 4) for v in margin.tolist()]}
    if not with_decode:
        return result
    cache, rows = None, []
    for token in ids:
        out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        rows.append(out.logits[0, -1].float())
    decode = (torch.stack(rows) - logits).abs().max().item()
    return {"decode": float(f"{decode:.3g}"), **result}


def make(name, kind, settings):
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **settings)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        shapes = {k: list(v.shape) for k, v in sorted(load_file(path).items())}
        save_file({k: weight(k, s) for k, s in shapes.items()}, path, metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = choose_prompt(model, settings["vocab_size"])
        case = {"name": name, "transformers": transformers.__version__,
                "config": json.loads((Path(folder) / "config.json").read_text()), "tensors": shapes, "ids": ids}
        for key, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
            case[key] = run(model, ids, 7 if key == "f32" else 5, key == "f32")
    return case


def dump(case):
    """One line per row of logits, so that differences can be read."""
    lines = []
    for key, value in case.items():
        if key not in ("f32", "bf16"):
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
            continue
        rows = ",\n".join("  " + json.dumps(row) for row in value["logits"])
        rest = ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items() if k != "logits")
        lines.append(f'{json.dumps(key)}: {{{rest}, "logits": [\n{rows}]}}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(out):
    for name, (kind, settings) in CASES.items():
        case = make(name, kind, settings)
        Path(out, f"{name}.json").write_text(dump(case))
        for key in ("f32", "bf16"):
            rows = torch.tensor(case[key]["logits"])
            spread = (rows.max() - rows.min()).item()
            low = sum(m < (1e-3 if key == "f32" else 2e-2) for m in case[key]["margin"])
            print(f"{name:22} {key:4} range {spread:.2f} low margins {low} decode {case[key].get('decode', 0):.1e}",
                  f"f32-bf16 {(rows - torch.tensor(case['f32']['logits'])).abs().max().item() / spread:.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
