"""Trained models: scores, recommendations, predictions and model files."""
