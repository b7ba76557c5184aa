"""Model files: writing, reading, checks and a summary."""
