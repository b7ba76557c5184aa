"""Reasons: ratings that raised the score of an item most."""
