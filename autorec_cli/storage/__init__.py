"""Files that outlive the code: atomic writes, locks, checksums, tensors."""
