"""Training of one network: examples, batches, epochs, validation."""
