"""Delimited text: detected, cut into blocks, parsed."""
