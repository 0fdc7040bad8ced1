"""Conversations with a model: what was said, the commands, the model's own process, and a plain terminal's loop.

Standard library and the contract only.
"""
