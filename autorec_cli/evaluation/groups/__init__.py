"""Groups of users or items, and metrics of each."""
