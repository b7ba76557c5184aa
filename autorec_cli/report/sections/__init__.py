"""One module per section of a report."""
