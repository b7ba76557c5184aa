"""Files: atomic writes, locks, checksums, formats and tensors."""
