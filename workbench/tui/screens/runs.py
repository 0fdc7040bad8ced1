"""Runs."""

from __future__ import annotations

from workbench.tui import actions
from workbench.tui.screens.base import WorkbenchScreen


class RunsScreen(WorkbenchScreen):
    PLACE = "runs"
    BINDINGS = actions.bindings("runs")
