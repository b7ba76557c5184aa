"""Readers of rating files: text, Parquet, frames."""
