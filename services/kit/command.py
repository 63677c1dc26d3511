"""`python -m services.<service> serve [--work] | work | migrate | <offline verb>`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

Run = Callable[[Mapping[str, str], bool, bool], Awaitable[None]]
"""async run(environ, serve, work): the service's app.run."""


def main(
    service: str,
    run: Run,
    *,
    offline: Mapping[str, Callable[[Sequence[str]], int]] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Do what the command line says and give the exit status: 0 done, 1 failed, 2 wrong settings or usage."""
    raise NotImplementedError
