"""The CPU backend: a tier of kernels, a team of threads, plans compiled to native programs."""

from __future__ import annotations

import os
from collections.abc import Iterable

from outpace import _native
from outpace.backends.backend import DraftMemory, Limits, MemoryPlan
from outpace.backends.cpu import weights
from outpace.backends.cpu.executable import KV_TYPES, CpuDraft, CpuExecutable, recurrent_shape
from outpace.backends.cpu.layout import Layout, Sizes, tensors
from outpace.backends.cpu.loading import Loaded, Progress
from outpace.backends.cpu.lower import lower
from outpace.errors import BackendError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import border_bytes
from outpace.graph.passes import by_head, kv_only
from outpace.graph.plan import Plan


def choose_tier(name: str | None = None) -> str:
    """Return the kernel tier to use: the one asked for, or the fastest that this CPU runs.

    Raises:
        BackendError: The CPU cannot run the tier asked for.
        UnsupportedError: There is no tier of that name.
    """
    supported, built = _native.supported_tiers(), _native.built_tiers()
    if name is None:
        return supported[0]
    if name not in built:
        raise UnsupportedError("kernel tier", name, built)
    if name not in supported:
        raise BackendError(f"this CPU cannot run the kernel tier '{name}'; it can run {', '.join(supported)}")
    return name


class CpuBackend:
    """Compiles plans for this machine's CPU; see `backend.Backend`.

    Attributes:
        tier: The kernel tier in use.
        threads: Threads that compute, the caller's among them.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, tier: str | None = None, progress: Progress | None = None) -> None:
        self.tier = choose_tier(tier)
        self.threads = (
            threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
        self._progress = progress
        self._last: tuple[Plan, Plan | None, tuple[int, ...], list[Layout]] | None = None

    def memory(self, plan: Plan, limits: Limits, draft: Plan | None = None) -> MemoryPlan:
        """Return what `compile` would hold; reads no tensor."""
        layouts = self._lower(plan, limits, draft)
        trunk, *drafts = layouts
        read = {ref.name for ref in tensors([trunk])}
        drafting = None
        if draft is not None:
            own = [ref for ref in tensors(layouts) if ref.name not in read]
            drafting = DraftMemory(
                self._packed_bytes(ref for ref in own if ref.rows_of is None),
                self._packed_bytes(ref for ref in own if ref.rows_of is not None),
                _kv_bytes(drafts[0], limits) + border_bytes(plan, draft) * limits.n_pages,
                max(layout.workspace_bytes for layout in drafts),
            )
        slot_bytes = sum(
            _native.recurrent_bytes(recurrent_shape(spec), limits.max_draft) for spec in trunk.state.recurrent
        )
        return MemoryPlan(
            weights_bytes=self._packed_bytes(tensors([trunk])),
            kv_bytes=_kv_bytes(trunk, limits),
            state_bytes=slot_bytes * limits.n_slots,
            workspace_bytes=trunk.workspace_bytes,
            draft=drafting,
        )

    def converted(self, plan: Plan) -> dict[str, str]:
        """Return the tensors whose type has no kernel of its own and the type each is converted to at load."""
        found = {}
        for ref in plan.weights().values():
            if len(ref.shape) == 2 and weights.kernel_type(ref).is_converted:
                found[ref.name] = f"{ref.type.name} -> {weights.kernel_type(ref).type.name}"
        return found

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> CpuExecutable:
        """Pack the weights and return the runnable programs; see `backend.Backend`."""
        layouts = self._lower(plan, limits, draft)
        loaded = Loaded(layouts, file, _native.Pool(self.threads), self.tier)
        loaded.pack(self._progress)
        drafter = None
        if draft is not None:
            n = len(by_head(draft))
            drafter = CpuDraft(layouts[1 : n + 1], layouts[n + 1 :], limits, loaded)
        return CpuExecutable(layouts[0], limits, loaded, drafter)

    def _packed_bytes(self, refs: Iterable[WeightRef]) -> int:
        return sum(weights.packed_bytes(ref, self.tier) for ref in refs)

    def _lower(self, plan: Plan, limits: Limits, draft: Plan | None) -> list[Layout]:
        """Lower the trunk, each head of the draft program and, where that has a cache, what it catches up with.

        What was lowered last, to tell its memory, is most often what is compiled next.
        """
        sized = limits.max_rows, limits.max_wanted, limits.n_pages
        if self._last is None or self._last[0] is not plan or self._last[1] is not draft or self._last[2] != sized:
            sizes = Sizes(limits.max_rows, limits.max_rows, limits.max_wanted)
            layouts = [lower(plan, limits, sizes, self.threads)]
            if draft is not None:
                least = kv_only(draft)
                catching_up = (least,) if least.nodes else ()
                most = limits.max_rows if catching_up else limits.max_wanted
                sizes = Sizes(most, limits.max_wanted, limits.max_wanted)
                layouts += [lower(each, limits, sizes, self.threads) for each in (*by_head(draft), *catching_up)]
            self._last = plan, draft, sized, layouts
        return self._last[3]


def _kv_bytes(layout: Layout, limits: Limits) -> int:
    kv_type = KV_TYPES[limits.kv_type]
    page: int = sum(_native.kv_page_bytes(spec.n_kv_heads, spec.head_dim, kv_type) for spec in layout.state.kv)
    return page * limits.n_pages
