"""Plans run by native kernels on the CPU."""

from outpace.backends.cpu.backend import CpuBackend, choose_tier

__all__ = ["CpuBackend", "choose_tier"]
