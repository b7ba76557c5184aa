"""Readers of rating files: text, compressed text, Parquet."""
