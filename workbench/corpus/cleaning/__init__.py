"""Cleaning: what becomes of each document between its source and the corpus, step by step."""
