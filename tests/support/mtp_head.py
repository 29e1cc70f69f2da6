"""Multi-token-prediction heads in torch, from their description alone: no cache, the whole text every time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as f

from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize


class Head:
    """The draft layer of a file of the Qwen3.5 family, every weight in float64."""

    second_norm = "post_attention_norm"

    def __init__(self, file: GGUFFile) -> None:
        meta, arch = file.metadata, file.metadata.str("general.architecture")
        self.eps = meta.float(f"{arch}.attention.layer_norm_rms_epsilon")
        self.n_heads = meta.int(f"{arch}.attention.head_count")
        self.n_kv_heads = meta.int(f"{arch}.attention.head_count_kv")
        self.width = meta.int(f"{arch}.attention.key_length")
        self.base = meta.float(f"{arch}.rope.freq_base")
        self.turned = meta.int(f"{arch}.rope.dimension_count")
        self.n_used = meta.int(f"{arch}.expert_used_count", 0)
        layer = meta.int(f"{arch}.block_count") - 1
        self.w = {}
        for name, info in file.tensors.items():
            if name.startswith((f"blk.{layer}.", "token_embd", "output.", "output_norm", "rope_freqs")):
                array = np.array(dequantize(file.data(name), info.type, info.shape), np.float64)
                self.w[name.removeprefix(f"blk.{layer}.").removesuffix(".weight")] = torch.from_numpy(array)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.w[name]

    def angles(self, n: int) -> torch.Tensor:
        """The angle of each pair of dimensions at each position, [n, 1, pairs]."""
        speed = torch.tensor([self.base ** (-2 * i / self.turned) for i in range(self.turned // 2)]).double()
        speed = speed / self.w.get("rope_freqs", torch.ones(1))
        return torch.arange(n, dtype=torch.float64)[:, None, None] * speed

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the first dimensions of heads [T, H, K], halves paired, by their positions 0 .. T - 1."""
        half = self.turned // 2
        angle = self.angles(len(x))
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest], -1)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        q, gate = (x @ self.w["attn_q"].T).view(n, self.n_heads, 2 * self.width).chunk(2, -1)
        k = (x @ self.w["attn_k"].T).view(n, self.n_kv_heads, self.width)
        v = (x @ self.w["attn_v"].T).view(n, self.n_kv_heads, self.width)
        q, k = self.turn(self.norm(q, "attn_q_norm")), self.turn(self.norm(k, "attn_k_norm"))
        k, v = (each.repeat_interleave(self.n_heads // self.n_kv_heads, 1) for each in (k, v))
        scores = torch.einsum("thk,shk->hts", q, k) / self.width**0.5
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
        y = torch.einsum("hts,shk->thk", scores.softmax(-1), v) * gate.sigmoid()
        return y.reshape(n, -1) @ self.w["attn_output"].T

    def network(self, x: torch.Tensor, kind: str = "", e: int | None = None) -> torch.Tensor:
        gate, up, down = (self.w[f"ffn_{part}{kind}"] for part in ("gate", "up", "down"))
        if e is not None:
            gate, up, down = gate[e], up[e], down[e]
        return (f.silu(x @ gate.T) * (x @ up.T)) @ down.T

    def mix(self, x: torch.Tensor) -> torch.Tensor:
        if not self.n_used:
            return self.network(x)
        y = self.network(x, "_shexp") * (x @ self.w["ffn_gate_inp_shexp"])[:, None].sigmoid()
        shares, used = (x @ self.w["ffn_gate_inp"].T).softmax(-1).topk(self.n_used)
        shares = shares / shares.sum(-1, keepdim=True)
        for e in range(len(self.w["ffn_gate_exps"])):
            y = y + (shares * (used == e)).sum(-1, keepdim=True) * self.network(x, "_exps", e)
        return y

    def __call__(self, tokens: Sequence[int], hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (hidden [T, D], logits [T, V]) of tokens and the hidden state before each [T, D]."""
        w = self.w
        e = self.norm(w.get("nextn.embed_tokens", w["token_embd"])[list(tokens)], "nextn.enorm")
        h = self.norm(hidden, "nextn.hnorm")
        x = torch.cat([e, h], -1) @ w["nextn.eh_proj"].T
        x = x + self.attend(self.norm(x, "attn_norm"))
        x = x + self.mix(self.norm(x, self.second_norm))
        h = self.norm(x, "nextn.shared_head_norm" if "nextn.shared_head_norm" in w else "output_norm")
        return h, h @ w.get("nextn.shared_head_head", w.get("output", w["token_embd"])).T

    def drafts(self, tokens: Sequence[int], hidden: torch.Tensor, depth: int) -> list[int]:
        """Return the tokens it expects after `tokens`, given the trunk's states of all but the last [T - 1, D]."""
        tokens = list(tokens)
        states = torch.cat([torch.zeros(1, hidden.shape[1], dtype=torch.float64), hidden])
        for _ in range(depth):
            own, logits = self(tokens, states)
            tokens.append(int(logits[-1].argmax()))
            states = torch.cat([states, own[-1:]])
        return tokens[-depth:]


class DenseHead(Head):
    """The draft layer of a llama or qwen3 file: plain attention, in llama with neighbours turned and maybe biases."""

    second_norm = "ffn_norm"

    def turn(self, x: torch.Tensor) -> torch.Tensor:
        if "attn_q_norm" in self.w:  # qwen3
            return super().turn(x)
        angle = self.angles(len(x))
        a, b = x[..., : self.turned : 2], x[..., 1 : self.turned : 2]
        turned = torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)
        return torch.cat([turned.flatten(-2), x[..., self.turned :]], -1)

    def project(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w[name].T + self.w.get(f"{name}.bias", torch.zeros(1))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        n, group = len(x), self.n_heads // self.n_kv_heads
        q = self.project("attn_q", x).view(n, self.n_heads, self.width)
        k, v = (self.project(f"attn_{part}", x).view(n, self.n_kv_heads, self.width) for part in "kv")
        if "attn_q_norm" in self.w:
            q, k = self.norm(q, "attn_q_norm"), self.norm(k, "attn_k_norm")
        q, k = self.turn(q), self.turn(k)
        rows = []
        for head in range(self.n_heads):
            scores = q[:, head] @ k[:, head // group].T / self.width**0.5
            seen = torch.ones(n, n, dtype=torch.bool).tril()
            rows.append(scores.where(seen, torch.tensor(-torch.inf).double()).softmax(-1) @ v[:, head // group])
        return self.project("attn_output", torch.cat(rows, -1))
