"""Messages and tables of the commands, for a terminal; the page of `autorec report` is in `report`."""
