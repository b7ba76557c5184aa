"""Training after an older model: warm start and promotion."""
