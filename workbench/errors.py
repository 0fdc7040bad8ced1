"""The one error that a person is meant to read."""


class WorkbenchError(Exception):
    """Something the user can mend.

    `what` says what happened, with the value; `remedy` says what to do about it.
    Both are whole sentences; they are shown together, without a traceback.
    """

    def __init__(self, what: str, remedy: str = ""):
        self.what = what
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()

    def __reduce__(self):
        return (type(self), (self.what, self.remedy))
