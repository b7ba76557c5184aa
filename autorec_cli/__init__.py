"""autorec: turn a file of ratings into a recommender with AutoRec (Sedhain et al., WWW 2015)."""

__version__ = "0.1.0"
