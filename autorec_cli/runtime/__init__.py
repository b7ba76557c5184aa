"""Processes, threads and memory of a run."""
