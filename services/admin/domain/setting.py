"""Parameters and dictionaries: what operators change without a deployment."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """A named value (参数)."""

    name: str
    value: str
    title: str


@dataclass(frozen=True)
class Entry:
    """A code of a dictionary with its meaning (字典)."""

    dictionary: str
    code: str
    title: str
    position: int = 0
    disabled: bool = False
