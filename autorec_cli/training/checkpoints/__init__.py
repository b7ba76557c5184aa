"""Checkpoints: saving and resuming interrupted runs."""
