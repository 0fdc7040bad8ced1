"""Conversations: reading them from files, their tokens, packing them into batches, and what can be wrong with them."""
