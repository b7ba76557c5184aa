"""Messages and tables of the commands, for a terminal.

The page of `autorec report` is in `report`.
"""
