"""Reasons: ratings that moved the score of an item most."""
