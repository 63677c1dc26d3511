"""Every expected "no" of ingest, one to one with `lifecircle/ingest/v1/error_reason.proto`."""

from collections.abc import Sequence

from services.kit.errors import Kind, Refusal


def feed_not_found(feed_id: str) -> Refusal:
    """No feed has this id."""
    return Refusal(Kind.NOT_FOUND, "FEED_NOT_FOUND", f"no feed has the id {feed_id}", metadata={"feed_id": feed_id})


def feed_invalid(problems: Sequence[tuple[str, str]]) -> Refusal:
    """The definition cannot be used; each pair is a key of the YAML and what is wrong with it, all of them at once."""
    message = "; ".join(f"{key}: {problem}" if key else problem for key, problem in problems)
    fields = [(f"feed.definition.{key}" if key else "feed.definition", problem) for key, problem in problems]
    metadata = {"key": problems[0][0] if problems else ""}
    return Refusal(Kind.INVALID_ARGUMENT, "FEED_INVALID", message, metadata=metadata, fields=fields)


def feed_changed(feed_id: str, etag: str) -> Refusal:
    """The etag is not that of the revision in force: somebody else changed the feed meanwhile."""
    message = f"feed {feed_id} is not at revision {etag} any more; read it again"
    return Refusal(Kind.ABORTED, "FEED_CHANGED", message, metadata={"feed_id": feed_id, "etag": etag})


def delivery_not_found(delivery_id: str) -> Refusal:
    """No delivery has this id."""
    message = f"no delivery has the id {delivery_id}"
    return Refusal(Kind.NOT_FOUND, "DELIVERY_NOT_FOUND", message, metadata={"delivery_id": delivery_id})


def customer_not_found(customer_key: int) -> Refusal:
    """No customer has this key."""
    message = f"no customer has the key {customer_key}"
    return Refusal(Kind.NOT_FOUND, "CUSTOMER_NOT_FOUND", message, metadata={"customer_key": str(customer_key)})


def event_id_reused(source: str, source_event_id: str) -> Refusal:
    """The source told another event under the same id before; what was told cannot be untold."""
    message = f"{source} told another event under the id {source_event_id} before; a correction needs an id of its own"
    metadata = {"source": source, "source_event_id": source_event_id}
    return Refusal(Kind.ABORTED, "EVENT_ID_REUSED", message, metadata=metadata)


def cursor_expired(cursor: str) -> Refusal:
    """The log has rolled off events that the follower has not seen; going on would miss them silently."""
    message = "the log does not keep the events after this cursor any more; begin again from a snapshot"
    return Refusal(Kind.FAILED_PRECONDITION, "CURSOR_EXPIRED", message, metadata={"cursor": cursor})


def upload_not_found(upload_id: str) -> Refusal:
    """No upload has this id, or it has expired."""
    message = f"no upload has the id {upload_id}; begin again"
    return Refusal(Kind.NOT_FOUND, "UPLOAD_NOT_FOUND", message, metadata={"upload_id": upload_id})


def upload_offset_wrong(upload_id: str, received: int) -> Refusal:
    """The part does not begin where the upload stands, or is not what was sent there before."""
    message = f"the upload has {received} bytes; send the part that begins there, or the same part again"
    metadata = {"upload_id": upload_id, "received_bytes": str(received)}
    return Refusal(Kind.FAILED_PRECONDITION, "UPLOAD_OFFSET_WRONG", message, metadata=metadata)


def file_name_unknown() -> Refusal:
    """No feed has files of this name; the name itself may hold a number and is not repeated."""
    message = "no feed has files of this name; compare it with the file-name patterns that ListFeeds gives"
    return Refusal(Kind.INVALID_ARGUMENT, "FILE_NAME_UNKNOWN", message)


def file_waits() -> Refusal:
    """A file of this name lies in the landing folder; it is looked at within seconds."""
    message = "a file of this name still waits in the landing folder; commit again in a moment"
    return Refusal(Kind.ABORTED, "FILE_WAITS", message)


def nothing_to_replay(delivery_id: str, line: int) -> Refusal:
    """The delivery is not loaded, has no such rejected row, or it was replayed before; line 0 is none in particular."""
    what = f"line {line} is no rejected row that waits" if line else "no rejected row of a loaded delivery waits"
    metadata = {"delivery_id": delivery_id, "line": str(line)}
    return Refusal(Kind.FAILED_PRECONDITION, "NOTHING_TO_REPLAY", f"{what}; see ListRejects", metadata=metadata)


def not_editable(delivery_id: str) -> Refusal:
    """It is not loaded, another one came to its place, or its feed is no reference data."""
    message = "the delivery is not in force any more, or its feed cannot be edited by rows; see ListDeliveries"
    return Refusal(Kind.FAILED_PRECONDITION, "NOT_EDITABLE", message, metadata={"delivery_id": delivery_id})


def erasure_not_found(erasure_id: str) -> Refusal:
    """No erasure has this id."""
    message = f"no erasure has the id {erasure_id}"
    return Refusal(Kind.NOT_FOUND, "ERASURE_NOT_FOUND", message, metadata={"erasure_id": erasure_id})


def row_not_found(feed_id: str, line: int) -> Refusal:
    """No conformed row is like that, or its period is rolled off."""
    message = f"no row of {feed_id} has the line {line} in this period"
    return Refusal(Kind.NOT_FOUND, "ROW_NOT_FOUND", message, metadata={"feed_id": feed_id, "line": str(line)})
