"""One module per section of a report: each gathers what it shows."""
