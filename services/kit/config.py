"""Settings from the environment: read once, frozen, and all problems reported together.

@dataclass(frozen=True)
class Config:
    server: ServerSettings                      # a nested dataclass reads its own variables, without a prefix
    lake_url: str = field(metadata={"help": "where the lake is, as an fsspec URL"})
    lake_buckets: int = 8
    vault_keys: Path = field(repr=False, metadata={"help": "the vault's keys", "secret": True})

config = read(Config, os.environ)               # LAKE_URL, LAKE_BUCKETS, VAULT_KEYS, LISTEN, …
"""

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from services.kit.tls import Tls

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_EXPECTED = {
    int: "a whole number",
    float: "a number",
    timedelta: "a number of seconds",
    bool: "true or false",
    ZoneInfo: "a time zone such as Asia/Shanghai",
}
_SAMPLERS = tuple(
    based + root for based in ("", "parentbased_") for root in ("always_on", "always_off", "traceidratio")
)


class ConfigProblems(Exception):
    """Everything that is wrong with the environment, one line a problem. The value of a secret is never shown."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class ServerSettings:
    """What every process of a service needs; a service's own Config holds one as a field."""

    database_url: str = field(repr=False, metadata={"help": "this service's own role in Postgres", "secret": True})
    jwt_keys: Path = field(metadata={"help": "JWKS file with the public keys that sign tokens", "exists": True})
    jwt_issuer: str = "lifecircle-local"
    jwt_audience: str = "lifecircle"
    oidc_keys: str = field(default="", metadata={"help": "JWKS of the operator's OIDC issuer: https:// or a path"})
    oidc_issuer: str = field(default="", metadata={"help": "its name, as `iss` in its tokens"})
    oidc_audience: str = field(default="lifecircle", metadata={"help": "whom its tokens must name as `aud`"})
    peer_admin: str = field(
        default="", metadata={"help": "host:port of admin, who tells of organisations, roles and principals"}
    )
    service_token_file: Path | None = field(default=None, metadata={"help": "the token shown to peers", "exists": True})
    tls_certificate: Path | None = field(
        default=None,
        metadata={"help": "PEM chain of this process; without it all is plaintext", "exists": True},
    )
    tls_key: Path | None = field(default=None, metadata={"help": "its private key", "exists": True})
    tls_authorities: Path | None = field(
        default=None, metadata={"help": "PEM of those who sign the certificates of callers and peers", "exists": True}
    )
    health_listen: str = field(
        default="", metadata={"help": "address for health in plaintext, for probes that know no TLS; host:port"}
    )
    listen: str = field(default="127.0.0.1:50051", metadata={"help": "address to serve, host:port"})
    reuse_port: bool = field(default=False, metadata={"help": "SO_REUSEPORT: one pinned process per core"})
    concurrent_calls: int = field(
        default=1024, metadata={"help": "more calls than this get RESOURCE_EXHAUSTED", "least": 1}
    )
    database_connections: int = field(default=8, metadata={"help": "size of the connection pool", "least": 1})
    drain_seconds: timedelta = field(
        default=timedelta(seconds=0.5), metadata={"help": "from NOT_SERVING to closing the port, for balancers to see"}
    )
    grace_seconds: timedelta = field(
        default=timedelta(seconds=10), metadata={"help": "time for the calls in flight to finish"}
    )
    # Read by telemetry, before there are settings; here they are judged with all the others.
    metrics_listen: str = field(default="", metadata={"help": "address to fetch metrics at (Prometheus), host:port"})
    log_level: str = field(
        default="INFO",
        metadata={"help": "SIGUSR1 toggles DEBUG", "among": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")},
    )
    otel_traces_sampler: str = field(default="", metadata={"among": _SAMPLERS})
    otel_traces_sampler_arg: float = field(default=1.0, metadata={"help": "ratio of traces kept", "least": 0})

    def tls(self) -> Tls | None:
        """The identity that this process shows; None where the ports speak plaintext."""
        if self.tls_certificate is None or self.tls_key is None or self.tls_authorities is None:
            return None
        return Tls(self.tls_certificate, self.tls_key, self.tls_authorities)


def read(cls: type[T], environ: Mapping[str, str], *, also: Collection[str] = ()) -> T:
    """Fill the frozen dataclass `cls` from variables named like its fields in upper case.

    Types: str, int, float, bool, Path, ZoneInfo, timedelta (seconds), tuple[str, ...] (commas), each also `| None`, and
    dataclasses of such fields. A field's metadata may ask for more: `least` (a number), `among` (words), `exists` (a
    file). An empty variable counts as missing; `also` names fields that this process needs though they have a default,
    for instance `service_token_file` where it works. Raises ConfigProblems with all problems.
    """
    problems: list[str] = []
    settings = _fill(cls, environ, problems, also)
    if problems:
        raise ConfigProblems(problems)
    return typing.cast(T, settings)


def _fill(cls: Any, environ: Mapping[str, str], problems: list[str], also: Collection[str]) -> Any:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        kind = hints[each.name]
        if dataclasses.is_dataclass(kind):
            values[each.name] = _fill(kind, environ, problems, also)
            continue
        variable, text = each.name.upper(), environ.get(each.name.upper(), "").strip()
        about = f" ({each.metadata['help']})" if "help" in each.metadata else ""
        if not text:
            required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            if required or each.name in also:
                problems.append(f"{variable} is missing{about}")
            continue
        shown = "its value" if each.metadata.get("secret") else repr(text)
        try:
            values[each.name] = _parse(_bare(kind), text)
        except (ValueError, KeyError):  # KeyError is a time zone that is not known
            problems.append(f"{variable}: {shown} is not {_EXPECTED.get(_bare(kind), 'valid')}{about}")
            continue
        fault = _fault(values[each.name], each.metadata)
        if fault:
            problems.append(f"{variable}: {shown} {fault}{about}")
    return None if problems else cls(**values)


def _fault(value: Any, metadata: Mapping[str, Any]) -> str:
    """What a value that could be read still lacks; "" when nothing."""
    if "least" in metadata and not value >= metadata["least"]:
        return f"is less than {metadata['least']}"
    if "among" in metadata and value.upper() not in {word.upper() for word in metadata["among"]}:
        return f"is not one of {', '.join(metadata['among'])}"
    if metadata.get("exists") and not value.is_file():
        return "is not a file"
    return ""


def _bare(kind: Any) -> Any:
    """The type T of `T | None`; any other type as it is."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _parse(kind: Any, text: str) -> Any:
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    if kind is timedelta:
        seconds = float(text)
        if not 0 <= seconds <= timedelta.max.total_seconds():  # also refuses "nan"
            raise ValueError(text)
        return timedelta(seconds=seconds)
    if typing.get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind in (str, int, float, Path, ZoneInfo):
        return kind(text)
    raise TypeError(f"a setting cannot be a {kind!r}")
