"""Rankings: candidates, top-k items, rules, limits and reranking."""
