"""What went wrong, in the form that OpenAI's clients read."""

from __future__ import annotations

from pydantic_core import to_json

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class HttpError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP's number.
        message: what is wrong, and what to do.
        code: a word for programs.
        param: the field it is about.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def body(self) -> bytes:
        """The error as JSON."""
        return error_body(self.status, self.message, self.code, self.param)


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error as OpenAI writes it."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return to_json({"error": {"message": message, "type": kind, "param": param, "code": code}})
