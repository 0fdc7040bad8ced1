"""One module a screen; `workbench.tui.places` says which is imported when."""
