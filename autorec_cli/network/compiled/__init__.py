"""Engine for CPUs, compiled by numba."""
