"""Users of recommendations: of models, datasets, histories and files of ids."""
