"""The commands: each an options function for Typer and a plain function that any program can call."""
