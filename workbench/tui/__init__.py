"""The terminal program.

`workbench.tui.app.run(project)` opens it. Nothing that must make progress lives here: runs have processes
of their own, and this is a window on them.

How a screen is added:

1. `places.py`: a `Place` with a letter (reached by `g` + letter), a help text and "module:Class".
2. `screens/<module>.py`: a `WorkbenchScreen` with `PLACE = "<id>"`, `BINDINGS = actions.bindings(PLACE)`,
   `body()` that yields its widgets, and `show(changes)` that brings them up to date from `self.app.live`.
   The module is imported when the screen is first shown, so it may import what it needs. What takes time it has
   done by `beside(work)`; a list beside what there is to read of it is a `ReadingScreen`.
3. `actions.py`: an `Action(id="<place>.<verb>", key=…, title=…, help=…)` for everything that a key or a command
   does there; the screen has `do_<verb>(argument: str)` and, where it is not always possible,
   `why_not_<verb>(argument: str) -> str | None`. Keys, footer, `:` line, palette, `.` menu, `?` help and the
   README's table follow from that. A widget with keys of its own is a place, too (see `widgets/table.py`).

What the app offers to screens (`app.py`): `app.project`, `app.live` (runs and artifacts, kept up to date;
`live.ask` puts a question to the catalog beside the screen's thread), `app.now()`, `app.ascii`, `app.remote`,
`app.tell(sentence)`, `app.show_error(error)`, `app.confirm(question, then)`, `app.ask_line(prompt, then)`,
`app.in_background(work, then)`, `app.go(place)`, `app.command(text)`. Text from outside goes through `safe.py`;
widgets draw with `widgets.painted.Painted` in the theme's colours; `style.tcss` has what is common to all screens.
"""
