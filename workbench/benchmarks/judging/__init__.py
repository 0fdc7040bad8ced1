"""Judges: a model or a server reads answers, compares or grades them, and says why."""
