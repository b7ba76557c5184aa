"""Columns of a source by role: names, contents, and search."""
