"""The expected "no", as plain Python: no grpc here, so that a domain may raise it.

    Exception
    └── Refusal           an answer the caller can act on: a kind, a reason, a message, metadata, fields
        made by a function per reason: the kit's own below, a service's in its refusals.py

The reason is the function's name in upper case and stands in `<service>/v1/error_reason.proto`. Whatever is not a
Refusal is a fault of ours: it is answered INTERNAL with an incident id, and its stack goes to the log only.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence


class Kind(enum.Enum):
    """What sort of "no" it is; the names are those of the gRPC status codes, the values their numbers."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Refusal(Exception):
    """An expected "no". `fields` are (path, what is wrong with it) pairs and become a BadRequest.

    Everything dynamic in the message is also in the metadata, so that a program need not parse prose.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.fields = tuple(fields)

    def __str__(self) -> str:
        return f"{self.kind.name} {self.reason}: {self.message}"


def stranger(why: str) -> Refusal:
    """The caller did not prove who he is: no token, a bad signature, a wrong audience, a token that ran out."""
    return Refusal(Kind.UNAUTHENTICATED, "STRANGER", f"the caller is not known: {why}", metadata={"why": why})


def not_allowed(method: str, roles: Iterable[str]) -> Refusal:
    """The caller is known, but none of the roles he holds (`roles`) may call the method."""
    held = ",".join(sorted(roles))
    message = f"{method} is not open to {f'the roles {held}' if held else 'a caller without roles'}"
    return Refusal(Kind.PERMISSION_DENIED, "NOT_ALLOWED", message, metadata={"method": method, "roles": held})


def invalid_field(fields: Sequence[tuple[str, str]]) -> Refusal:
    """The request breaks its contract; each pair names a field and what is wrong with it."""
    message = "; ".join(f"{path}: {problem}" if path else problem for path, problem in fields)
    metadata = {"fields": ",".join(path for path, _ in fields)}
    return Refusal(Kind.INVALID_ARGUMENT, "INVALID_FIELD", message, metadata=metadata, fields=fields)


def request_id_reused(request_id: str) -> Refusal:
    """The request id was used before by the same caller and method with another body."""
    message = f"request_id {request_id} was used before with another body"
    return Refusal(Kind.ABORTED, "REQUEST_ID_REUSED", message, metadata={"request_id": request_id})


def deadline_exhausted() -> Refusal:
    """Nothing is left of the caller's deadline, so the work is not begun."""
    return Refusal(Kind.DEADLINE_EXCEEDED, "DEADLINE_EXHAUSTED", "the deadline passed before the work began")


def bad_page_token() -> Refusal:
    """The page token is not one that this service gave out."""
    message = "page_token is not one that this service gave out"
    return Refusal(Kind.INVALID_ARGUMENT, "BAD_PAGE_TOKEN", message, fields=[("page_token", message)])


def job_not_found(job_id: str) -> Refusal:
    """No job has this id."""
    return Refusal(Kind.NOT_FOUND, "JOB_NOT_FOUND", f"no job has the id {job_id}", metadata={"job_id": job_id})


def cursor_invalid(cursor: str) -> Refusal:
    """The cursor is not one of this stream, or it is ahead of it (the log was restored from an older copy)."""
    message = "cursor is not a position in this stream"
    metadata = {"cursor": cursor[:100]}
    return Refusal(Kind.INVALID_ARGUMENT, "CURSOR_INVALID", message, metadata=metadata, fields=[("cursor", message)])


def store_unavailable() -> Refusal:
    """Postgres is not there, or went away in mid call; a write has a request id or a natural key, so ask again."""
    return Refusal(
        Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "the database does not answer; the same call may be sent again"
    )
