"""The command line: options, messages, output."""
