"""Metrics, baselines and quality gates."""
