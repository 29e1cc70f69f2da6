"""Native core: kernel tiers, thread pool, programs."""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


def built_tiers() -> list[str]:
    """Kernel tiers compiled into this build, fastest first."""

def supported_tiers() -> list[str]:
    """Kernel tiers this CPU can run, fastest first."""

class Pool:
    """A team of threads; the caller is one of them."""

    def __init__(self, n_threads: int) -> None: ...

    @property
    def size(self) -> int: ...

class Memory:
    """
    Resident anonymous memory, zeroed; brought in by a team of threads if one is given.
    """

    def __init__(self, n_bytes: int, pool: Pool | None = None) -> None: ...

    @property
    def size(self) -> int: ...

class Weight:
    """One packed matrix."""

    @property
    def type(self) -> int: ...

    @property
    def n_rows(self) -> int: ...

    @property
    def n_cols(self) -> int: ...

class WeightArena:
    """Memory for all packed weights of a model."""

    def __init__(self, tier: str, pool: Pool, n_bytes: int) -> None: ...

    def pack(self, type: int, n_rows: int, n_cols: int, rows: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Weight:
        """Pack a matrix from the bytes of its GGUF rows."""

    def pack_all(self, sources: Sequence[tuple[int, int, int, Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)] | None]]) -> list[Weight]:
        """
        Pack matrices: type, rows, columns, bytes, and pages of a mapped file that may leave memory after it.
        """

    def reserve(self, type: int, n_rows: int, n_cols: int) -> Weight:
        """A matrix of zeros, to be filled by `take_rows`."""

    def take_rows(self, target: Weight, at: int, source: Weight, ids: Sequence[int]) -> None:
        """
        Write rows of one matrix over those of another from `at` on, rounded to its type, Q4_0.
        """

    def unpack_row(self, weight: Weight, row: int) -> list[float]: ...

def packed_bytes(tier: str, type: int, n_rows: int, n_cols: int) -> int:
    """
    Bytes a matrix takes when packed; 0 when the type has no kernel or the width does not suit it.
    """

def read_bandwidth(tier: str, pool: Pool, memory: Memory) -> float:
    """Bytes a second at which the team reads the memory once."""

def integer_rate(tier: str, pool: Pool, rounds: int) -> float:
    """Multiply-adds of int8 a second from registers."""

def codes_bytes(rows: int, stride: int) -> int:
    """Bytes of the integer codes of a value, scales left out."""

def scales_bytes(rows: int, stride: int) -> int:
    """Bytes of the scales of a value's integer codes."""

def kv_page_bytes(n_kv_heads: int, head_dim: int, kv_type: int) -> int:
    """Bytes of one page of 64 positions of one layer."""

def recurrent_bytes(shape: tuple[int, int, int, int, int, int], max_draft: int) -> int:
    """
    Bytes of one layer's state in one slot, with room for so many staged rows.
    """

class State:
    """
    What sequences carry between steps: pages of keys and values, recurrent states.
    """

    def __init__(self, pool: Pool, n_pages: int, kv_type: int, kv: Sequence[tuple[int, int]], recurrent: Sequence[tuple[int, int, int, int, int, int]] = [], n_slots: int = 0, max_draft: int = 0) -> None: ...

    def copy_page(self, source: int, target: int) -> None: ...

    def copy_slot(self, source: int, target: int) -> None: ...

class Program:
    """A plan made flat; see outpace.backends.cpu.layout."""

    def __init__(self, weights: WeightArena, state: State, workspace: Memory, max_rows: int, max_exported: int, max_wanted: int, partial: int, partial_rows: int, partial_chunks: int, scratch: int, scratch_bytes: int) -> None: ...

    def run(self, tokens: Sequence[int], segments: list, wanted: Sequence[int], exported: Sequence[int] = [], hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), device='cpu', writable=False)] | None = None) -> None:
        """Run one step."""

    def keep_peaks(self, at: int) -> bool:
        """
        From now on note the largest logits as they are made at this offset, for `Sampler.accept`; False if no
        linear verb makes them.
        """

    def floats(self, at: int, rows: int, stride: int, n: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), device='cpu')]:
        """A view of a buffer of the workspace."""

    @property
    def last_run_s(self) -> float:
        """Seconds the last run took inside the native program."""

    @property
    def run_s(self) -> float:
        """Seconds that all runs took inside the native program."""

    def set_profile(self, on: bool) -> None: ...

    def profile(self) -> list[tuple[str, float]]:
        """Seconds of each instruction since profiling was switched on."""

    def beside(self) -> None:
        """
        The next instruction need not wait for those before it: none of them writes what it reads or writes, or
        reads what it writes.
        """

    def add_embed(self, table: Weight, out: int, stride: int) -> None: ...

    def add_hidden(self, width: int, out: int, stride: int) -> None: ...

    def add_gather(self, source_rows: int, rows: int, x: int, x_stride: int, out: int, stride: int, n: int) -> None: ...

    def add_rows(self, verb: int, rows: int, x: tuple[int, int, int], y: tuple[int, int, int], n: int, groups: int, eps: float, factor: float, weight: Sequence[float], out: int, out_stride: int, codes: tuple[int, int, int, int]) -> None: ...

    def add_linear(self, rows: int, x: int, x_stride: int, codes: tuple[int, int, int, int], weights: Sequence[Weight], outs: Sequence[int], strides: Sequence[int], residuals: Sequence[int], biases: Sequence[Sequence[float]]) -> None: ...

    def add_rope_table(self, frequencies: Sequence[float], out: int) -> int: ...

    def add_rope(self, rows: int, x: int, out: int, stride: int, n_heads: int, head_dim: int, neox: int, table: int, factor: float) -> None: ...

    def add_kv_write(self, layer: int, k: int, k_out: int, k_stride: int, v: int, v_stride: int, n_kv_heads: int, head_dim: int, neox: int, table: int) -> None: ...

    def add_attention(self, rows: int, layer: int, q: int, out: int, stride: int, n_heads: int) -> None: ...

    def add_conv(self, x: int, x_stride: int, out: int, out_stride: int, layer: int, with_silu: bool, weight: Sequence[float]) -> None: ...

    def add_gated_delta(self, q: tuple[int, int, int], k: tuple[int, int, int], v: tuple[int, int, int], decay: tuple[int, int, int], beta: tuple[int, int, int], out: tuple[int, int, int], layer: int, tiled: bool) -> None: ...

    def add_experts(self, rows: int, max_rows: int, max_slots: int, n_used: int, renormalise: bool, d_model: int, d_ff: int, gate: Sequence[Weight], up: Sequence[Weight], down: Sequence[Weight], x: tuple[int, int, int], codes: tuple[int, int, int, int], router: tuple[int, int, int], slot_x: tuple[int, int, int], slot_codes: tuple[int, int, int, int], gated: tuple[int, int, int], lifted: tuple[int, int, int], hidden_codes: tuple[int, int, int, int], out_slots: tuple[int, int, int], out: tuple[int, int, int]) -> None: ...

class Sampler:
    """Chooses tokens by the settings of one request; see outpace.sampling."""

    def __init__(self, tier: str, n_vocab: int, seed: int, inverse_temperature: float, top_k: int, typical_p: float, top_p: float, min_p_offset: float, repeat_penalty: float, presence_penalty: float, frequency_penalty: float, logit_bias: Sequence[tuple[int, float]]) -> None: ...

    def choose(self, logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], position: int, recent: Sequence[int]) -> int:
        """
        The token, or -1: a logit is NaN, -2: every token is masked, -3: `recent` holds an unknown id.
        """

    def accept(self, draft: Sequence[int], program: Program, first_row: int, position: int, recent: Sequence[int], window: int) -> tuple[int, int]:
        """
        From the logits that the program's last run left: how many drafted tokens `choose` would have chosen, and
        the token it chooses after them, or a reason for none.
        """

    def guess(self, logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, position: int, recent: Sequence[int]) -> tuple[int, float]:
        """
        The token `choose` gives for a row where only `tokens` have these logits (None: all have), or a reason
        for none; and the share of the raw logits that it has.
        """

    def chain(self, program: Program, logits: int, exported: int, rows: Sequence[int], hidden: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], start: int, pages: object, first: int, tokens: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, most: int, rule: tuple[Sequence[float], Sequence[float], float, float]) -> tuple[list[int], list[float], int]:
        """
        The guesses of a draft program, which leaves logits and hidden states at these offsets, for the
        sequence whose last rows (see outpace.graph.step.Segment) these are: each made from the one before, as
        far as a rule (outpace.speculate.rule) goes. With them their chances, as `guess` gives them, and the
        steps: one more than guesses where the last gave none, which its logits explain.
        """

    def partition(self, logits: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], count: int) -> tuple[float, float, list[int]]:
        """
        (largest logit, sum of e^(logit - largest), ids of the `count` largest, largest first).
        """

class Suffix:
    """
    Where the latest tokens of a text stood before; see outpace.speculate.suffix.
    """

    def __init__(self, hash_bits: int = 64) -> None: ...

    def propose(self, tokens: list[int], max_n: int) -> tuple[list[int], list[float]] | None:
        """
        Take in the end of `tokens` and guess what follows: (guesses, the chance of each), or None.
        """

    def observe(self, kept: list) -> None:
        """Take in committed tokens that `propose` has not shown yet."""

    @property
    def match(self) -> tuple[int, int]:
        """
        Place of the token expected next (or -1), and how many tokens before it match the end.
        """
