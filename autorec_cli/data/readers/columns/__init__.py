"""Columns of a source by role: known names, contents, and the search that uses both."""
