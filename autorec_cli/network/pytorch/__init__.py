"""Engine for CUDA, and for CPUs without numba."""
