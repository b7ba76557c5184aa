"""Groups of users, items or ratings, and metrics of each."""
