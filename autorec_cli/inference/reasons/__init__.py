"""Reasons: ratings of a user that moved the score of a recommended item most."""
