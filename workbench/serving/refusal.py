"""Why a request is not answered, in the form in which OpenAI's clients read it."""

from __future__ import annotations

from typing import Any

from workbench.errors import WorkbenchError


class Refusal(WorkbenchError):
    """An error for who asked, with HTTP's status; `parameter` is the field that it is about."""

    def __init__(
        self, what: str, remedy: str = "", *, status: int = 400, parameter: str | None = None, code: str | None = None
    ):
        super().__init__(what, remedy)
        self.status, self.parameter, self.code = status, parameter, code

    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.parameter, "code": self.code}}
