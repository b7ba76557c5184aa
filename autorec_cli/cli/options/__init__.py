"""Options of commands: declared, shared, read from a file and the environment."""
