"""Rows of ratings become ids and a sparse matrix."""
