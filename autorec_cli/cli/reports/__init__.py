"""What a person reads on stderr, and tables of metrics."""
