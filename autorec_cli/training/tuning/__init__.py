"""Hyperparameter search: the space of hyperparameters, and the trials in it."""
