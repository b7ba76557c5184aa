"""One page about models: facts, metrics, charts, and people's recommendations."""
