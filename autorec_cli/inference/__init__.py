"""Trained models and everything they are used for."""
