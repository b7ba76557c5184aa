"""Results on stdout, in files, databases and shards."""
