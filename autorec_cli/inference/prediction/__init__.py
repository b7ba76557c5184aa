"""Predicted ratings of user-item pairs, all at once or in batches."""
