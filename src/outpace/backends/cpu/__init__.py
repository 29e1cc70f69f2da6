"""Plans run by native kernels on the CPU."""
