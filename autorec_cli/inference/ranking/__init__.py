"""Order: the highest scores of users, what is left out of them, limits and reranking."""
