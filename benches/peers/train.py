"""A PRM training step in plain PyTorch on a CPU: what `mmprm bench train` is measured against.

    python benches/peers/train.py [--threads 2] [--tokens 512] [--batch 4] [--steps 5] [--head rows|full] [--width 768 …]

An InternLM2-shaped language model (grouped keys, fused wqkv, SwiGLU, RMSNorm, rotary positions) with random weights, bf16
autocast over fp32 parameters, fused scaled-dot-product attention and fused AdamW, as a careful user would write it. `--head full`
computes the logits of all positions, as the reference does; `rows` only those of the two labels at the steps. Prints one JSON
object: parameters, seconds a step (median), tokens a second, peak memory.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads, keys, inner):
        super().__init__()
        self.heads, self.keys, self.dim = heads, keys, width // heads
        self.attention_norm = nn.RMSNorm(width, eps=1e-5)
        self.ffn_norm = nn.RMSNorm(width, eps=1e-5)
        self.wqkv = nn.Linear(width, (heads + 2 * keys) * self.dim, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        qkv = self.wqkv(self.attention_norm(x)).view(batch, length, self.keys, self.heads // self.keys + 2, self.dim)
        q = qkv[..., :-2, :].reshape(batch, length, self.heads, self.dim).transpose(1, 2)
        k, v = qkv[..., -2, :].transpose(1, 2), qkv[..., -1, :].transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = self.heads // self.keys
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(mixed.transpose(1, 2).reshape(batch, length, width))
        y = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Model(nn.Module):
    def __init__(self, width, layers, heads, keys, inner, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads, keys, inner) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.output = nn.Linear(width, vocabulary, bias=False)
        self.dim = width // heads

    def forward(self, tokens):
        x = self.embedding(tokens)
        angles = torch.outer(torch.arange(tokens.shape[1]), 1e6 ** (-torch.arange(0, self.dim, 2) / self.dim))
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)


def main():
    arguments = argparse.ArgumentParser()
    for name, default in [("threads", 2), ("tokens", 512), ("batch", 4), ("steps", 5), ("width", 768), ("layers", 12),
                          ("heads", 12), ("keys", 4), ("inner", 2048), ("vocabulary", 32000)]:
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--head", choices=["rows", "full"], default="full")
    o = arguments.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    model = Model(o.width, o.layers, o.heads, o.keys, o.inner, o.vocabulary)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05, fused=True)
    yes, no, every = 1, 2, 64
    seconds = []
    for step in range(o.steps + 1):
        tokens = torch.randint(3, o.vocabulary, (o.batch, o.tokens))
        labels = torch.rand(o.batch, o.tokens // every)
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(tokens)
            if o.head == "full":
                logits = model.output(hidden)[:, every - 1 :: every, [yes, no]]
            else:
                logits = F.linear(hidden[:, every - 1 :: every], model.output.weight[[yes, no]])
        chances = logits.float().log_softmax(-1)
        loss = -(labels * chances[..., 0] + (1 - labels) * chances[..., 1]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step > 0:
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    print(json.dumps({
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "threads": o.threads,
        "head": o.head,
        "seconds": median,
        "tokens_per_second": o.batch * o.tokens / median,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


main()
