"""Native programs of a few instructions, fed and read through their workspace."""

from __future__ import annotations

import numpy as np

from outpace import _native
from outpace.gguf.quants import dequantize, quantize
from outpace.gguf.types import GGMLType

COPY, NORM, SWIGLU, SILU, ADD, MUL, SCALE, MUL_ROW, SIGMOID, GATE, L2_NORM, NORM_SWIGLU, DECAY = range(13)
NONE = -1
ALL, EXPORTED, WANTED = range(3)


def padded(n: int, to: int = 32) -> int:
    return -(-n // to) * to


class Space:
    """Offsets in a workspace, handed out one after another."""

    def __init__(self) -> None:
        self.end = 0

    def take(self, n_bytes: int) -> int:
        at = self.end
        self.end += padded(n_bytes, 64)
        return at


def program(tier, space, *, threads=1, rows=64, kv=(), n_pages=1, kv_type=1, arena=None, widest=8192, partial_rows=0):
    """Return an empty program whose shared buffers follow those already taken from `space`."""
    chunks = -(-n_pages * 64 // 256)
    heads = 64
    head_dim = max((k for _, k in kv), default=16)
    partial = space.take(4 * max(1, partial_rows) * heads * chunks * (head_dim + 2))
    scratch_bytes = padded(4 * max(widest, 8 * (256 + 3 * head_dim + 4) + head_dim), 64)
    scratch = space.take(threads * scratch_bytes)
    pool = _native.Pool(threads)
    arena = arena or _native.WeightArena(tier, pool, 64)
    return _native.Program(
        weights=arena,
        state=_native.State(pool=pool, n_pages=n_pages, kv_type=kv_type, kv=list(kv)),
        workspace=_native.Memory(space.end),
        max_rows=rows,
        max_exported=rows,
        max_wanted=rows,
        partial=partial,
        partial_rows=partial_rows,
        partial_chunks=chunks,
        scratch=scratch,
        scratch_bytes=scratch_bytes,
    )


def add_rows(
    prog, verb, x, y=NONE, *, n, out, groups=1, eps=0.0, factor=1.0, weight=(), q=NONE, scales=NONE, max_rows=64, **more
):
    """Add a row-wise verb over compact buffers; `more` overrides."""
    stride = padded(n)
    operands = {"x": x if isinstance(x, tuple) else (x, stride, n // groups), "y": (y, stride, n // groups)}
    codes = (q, scales, stride, max_rows)
    arguments = {"out_stride": stride, "codes": codes, "rows": ALL} | operands | more
    prog.add_rows(verb=verb, n=n, out=out, groups=groups, eps=eps, factor=factor, weight=list(weight), **arguments)


def run_rows(prog, n_rows: int) -> None:
    pages = np.zeros(64, np.int32)
    prog.run([0] * n_rows, [(0, n_rows, pages)], [])


def linear(tier, kind, raw, shape, x, *, threads=1, residual=None, bias=None):
    """Run y = x @ w.T (+ bias) (+ residual) natively. raw: bytes of w in GGUF form; x float32 [T, K]."""
    n, k = shape
    t = len(x)
    stride, out_stride = padded(k), padded(n)
    space = Space()
    at_x, at_out = space.take(4 * t * stride), space.take(4 * t * out_stride)
    at_q, at_s = space.take(_native.codes_bytes(max(t, 1), stride)), space.take(_native.scales_bytes(t, stride))
    at_r = space.take(4 * t * out_stride)
    pool = _native.Pool(threads)
    arena = _native.WeightArena(tier, pool, _native.packed_bytes(tier, int(kind), n, k))
    weight = arena.pack(int(kind), n, k, raw)
    prog = program(tier, space, threads=threads, rows=max(t, 1), arena=arena)
    plain = kind in (GGMLType.F32, GGMLType.F16, GGMLType.BF16)
    if not plain:
        add_rows(prog, COPY, at_x, n=k, out=at_x, q=at_q, scales=at_s, max_rows=max(t, 1))
    biased = [] if bias is None else [*bias.tolist(), *([0.0] * (out_stride - n))]
    prog.add_linear(
        rows=0, x=at_x if plain else NONE, x_stride=stride,
        codes=(NONE if plain else at_q, NONE if plain else at_s, stride, max(t, 1)), weights=[weight],
        outs=[at_out], strides=[out_stride], residuals=[NONE if residual is None else at_r], biases=[biased],
    )  # fmt: skip
    prog.floats(at_x, t, stride, k)[:] = x
    if residual is not None:
        prog.floats(at_r, t, out_stride, n)[:] = residual
    run_rows(prog, t)
    return prog.floats(at_out, t, out_stride, n).copy()


def random_matrix(rng, kind, n, k):
    """Return GGUF bytes of a random [n, k] matrix and the float32 values they stand for."""
    values = rng.standard_normal((n, k)).astype(np.float32) / np.float32(np.sqrt(k))
    raw = np.ascontiguousarray(quantize(values, kind)).reshape(-1).view(np.uint8)
    return raw, dequantize(raw, kind, (n, k))


def quantized(x):
    """Return activations as the kernels round them: codes [T, K / 32, 32] and scales [T, K / 32], both float64.

    Codes are whole numbers, or multiples of 1/256 in blocks that lie far above their stretch of sixteen.
    """
    blocks = x.reshape(len(x), -1, 32)
    top = np.abs(blocks).max(axis=-1)
    stretches = [top[:, i : i + 16].astype(np.float64).mean(axis=1) for i in range(0, top.shape[1], 16)]
    is_far = top > 2 * np.repeat(np.stack(stretches, axis=1), 16, axis=1)[:, : top.shape[1]]
    most = np.where(is_far, np.float32(127 * 256), np.float32(127))
    with np.errstate(divide="ignore"):
        inverse = np.where(top > 0, most / top, np.float32(0)).astype(np.float32)
    codes = np.rint(blocks * inverse[..., None]).astype(np.float64)
    unit = (top / most).astype(np.float64)
    return codes / np.where(is_far, 256, 1)[..., None], unit * np.where(is_far, 256, 1)
