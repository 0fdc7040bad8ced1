"""The map: the road from text to chat, what stands on it, and the next step."""

from __future__ import annotations

from workbench.tui import actions
from workbench.tui.screens.base import WorkbenchScreen


class MapScreen(WorkbenchScreen):
    PLACE = "map"
    BINDINGS = actions.bindings("map")
