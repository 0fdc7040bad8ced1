"""Engines do the heavy work. Each package here is a plug-in that `workbench.registry` loads by name."""
