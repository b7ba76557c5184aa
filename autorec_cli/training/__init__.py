"""From a prepared dataset to a trained model."""
