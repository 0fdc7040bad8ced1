"""From raw documents to a clean corpus, in parts: side by side, resumable, and the same bytes each time."""
