"""Widgets of our own: each draws only the lines that are on the screen, from text made safe."""
