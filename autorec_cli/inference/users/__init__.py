"""Users with recommendations: those of a model, of a dataset, of histories and of lists of ids."""
