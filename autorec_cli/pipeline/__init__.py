"""From files of ratings to published recommendations, night after night."""
