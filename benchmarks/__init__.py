"""What measures speed and memory; run as `python -m benchmarks.NAME`."""
