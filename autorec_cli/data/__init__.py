"""Ratings in, prepared datasets out."""
