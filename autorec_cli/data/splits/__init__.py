"""Splits into training, validation and test sets: strategies, one split, repeated ones."""
