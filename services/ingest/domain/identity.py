"""Telephone numbers: a keyed token to find them by, a sealed copy to give them back, an ordinal within a file.

The clear number lives in a file, in memory while the file is judged, and sealed in the vault; nowhere else.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import polars as pl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN_BYTES = 16
_NONCE_BYTES = 12
_NUMBER = b"number"

MASK = "*" * 11
"""What stands in the place of a number that was masked."""

# 32 hexadecimal digits hold eleven decimal ones between letters now and then: ids of that kind are no numbers.
_IDS = r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f０-９]{16,}"
# Free text writes a number as it likes: 138 1234 5678, 138-1234-5678, 1 3 8 …, and in full-width digits.
_DIGIT, _GAP = "[0-9０-９]", "[ \u00a0\u3000.·_\u2010-\u2015－-]"
_MOBILE = (
    rf"(?:(?:[0０]{{2}})?[8８][6６]{_GAP}?)?[1１](?:[3-9３-９]{_DIGIT}(?:{_GAP}?{_DIGIT}{{4}}){{2}}"
    rf"|{_GAP}[3-9３-９](?:{_GAP}{_DIGIT}){{9}})"
)
_ID = re.compile(_IDS)
_ALONE = re.compile(rf"(?<!{_DIGIT}){_MOBILE}(?!{_DIGIT})")
_ANYWHERE = re.compile(r"1[3-9][0-9]{9}")
_BORDERED = rf"(^|[^0-9０-９]){_MOBILE}($|[^0-9０-９])"  # for Polars, whose expressions cannot look around

Nonces = Callable[[int], bytes]
"""Gives that many random bytes; never the same twice."""


def shown(number: str) -> str:
    """A number as lists show it to those who may not know it: 138****1234."""
    return f"{number[:3]}****{number[-4:]}"


def holds_number(text: str) -> bool:
    """Whether a mobile number stands in a text, not within a longer run of digits nor in a hexadecimal id."""
    return len(text) >= len(MASK) and bool(_ALONE.search(_ID.sub("x", text)))


def may_hold_number(text: str) -> bool:
    """A quick look at a long text: False means that no number stands anywhere in it."""
    return _ANYWHERE.search(text) is not None


def masked(text: str) -> str:
    """The text with every number in it masked."""
    return _ALONE.sub(MASK, text) if holds_number(text) else text


def holds_numbers(texts: pl.Expr) -> pl.Expr:
    """holds_number() of a column."""
    return texts.map_batches(_holds_numbers, return_dtype=pl.Boolean, is_elementwise=True)


def masked_all(texts: pl.Expr) -> pl.Expr:
    """masked() of a column."""
    return texts.map_batches(_masked_all, return_dtype=pl.String, is_elementwise=True)


def _holds_numbers(texts: pl.Series) -> pl.Series:
    at = _suspects(texts)
    holds = texts.gather(at).str.replace_all(_IDS, "x").str.contains(_BORDERED)
    return pl.repeat(False, len(texts), eager=True).scatter(at.filter(holds), True)


def _masked_all(texts: pl.Series) -> pl.Series:
    at = _suspects(texts)
    if not len(at):
        return texts
    some = texts.gather(at)
    once = some.str.replace_all(_BORDERED, f"${{1}}{MASK}${{2}}")
    twice = once.str.replace_all(_BORDERED, f"${{1}}{MASK}${{2}}")  # two numbers may share one border
    holds = _holds_numbers(some)
    return texts.clone().scatter(at.filter(holds), twice.filter(holds))


def _suspects(texts: pl.Series) -> pl.Series:
    """Places of the texts in which a number may stand: it has eleven digits, and they begin with a one."""
    long = (texts.str.len_bytes() >= len(MASK)).fill_null(False).arg_true()
    return long.filter(texts.gather(long).str.contains("[1１]"))


class KeysMissing(Exception):
    """Something was sealed under keys that this process was not given."""


@dataclass(frozen=True)
class VaultKeys:
    """The keys of the version in force: 32 bytes to make tokens, 32 bytes to seal."""

    version: int
    token_key: bytes = field(repr=False)
    vault_key: bytes = field(repr=False)
    earlier: tuple["VaultKeys", ...] = ()
    """Keys that the vault may still be under, the latest first; needed until a rotation has ended."""

    def of(self, version: int) -> "VaultKeys":
        """The keys of a version. Raises KeysMissing."""
        for keys in (self, *self.earlier):
            if keys.version == version:
                return keys
        raise KeysMissing(f"the keys of version {version} are not among the vault's keys")

    def token(self, number: str) -> bytes:
        """Keyed BLAKE2b of a number, 16 bytes: the same number always gives the same token under one key."""
        return hashlib.blake2b(number.encode(), key=self.token_key, digest_size=TOKEN_BYTES).digest()

    def tokens(self, numbers: Iterable[str]) -> list[bytes]:
        """Tokens in the order of the numbers."""
        return [self.token(number) for number in numbers]

    def pseudonyms(self, texts: pl.Series) -> pl.Series:
        """Positive int64 of texts, keyed: equal texts are equal under one key, and nothing leads back."""
        distinct = texts.drop_nulls().unique(maintain_order=True)
        salt = b"party".ljust(hashlib.blake2b.PERSON_SIZE, b"\0")
        made = [
            hashlib.blake2b(text.encode(), key=self.token_key, digest_size=8, person=salt).digest() for text in distinct
        ]
        values = [int.from_bytes(digest) >> 1 for digest in made]
        return texts.replace_strict(distinct, pl.Series(values, dtype=pl.Int64), default=None, return_dtype=pl.Int64)

    def seal_numbers(self, numbers: Iterable[str], nonces: Nonces) -> dict[bytes, bytes]:
        """Sealed numbers by token, in the order of the numbers."""
        return {self.token(number): self.seal(number.encode(), _NUMBER, nonces) for number in numbers}

    def open_number(self, sealed: bytes) -> str:
        """The clear number; raises cryptography.exceptions.InvalidTag when it was touched."""
        return self.unseal(sealed, _NUMBER).decode()

    def seal(self, plain: bytes, about: bytes, nonces: Nonces) -> bytes:
        """AES-256-GCM: nonce, ciphertext, tag. `about` is bound to it: sealed as one thing, it opens as no other."""
        nonce = nonces(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, about)

    def unseal(self, sealed: bytes, about: bytes) -> bytes:
        """The plain bytes; raises cryptography.exceptions.InvalidTag when touched or sealed as another thing."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)

    @functools.cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self.vault_key)


@dataclass
class Ordinals:
    """Numbers of one file, counted from 0 in the order of their first appearance in a good row."""

    _known: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema={"number": pl.Int64, "ordinal": pl.UInt32}), repr=False
    )

    def count(self) -> int:
        """How many distinct numbers there are so far."""
        return self._known.height

    def take(self, numbers: pl.Series) -> pl.Series:
        """Ordinal of each number; the missing number stays missing."""
        found = self._join(numbers)
        if found.null_count() > numbers.null_count():
            fresh = numbers.filter(found.is_null() & numbers.is_not_null()).unique(maintain_order=True)
            ordinal = pl.int_range(self.count(), self.count() + len(fresh), dtype=pl.UInt32, eager=True)
            self._known = pl.concat([self._known, pl.DataFrame({"number": fresh, "ordinal": ordinal})])
            found = self._join(numbers)
        return found

    def numbers(self, first: int, most: int) -> list[str]:
        """Clear numbers by ordinal: at most so many from the ordinal `first`."""
        return self._known["number"].slice(first, most).cast(pl.String).to_list()

    def _join(self, numbers: pl.Series) -> pl.Series:
        frame = pl.DataFrame({"number": numbers})
        return frame.join(self._known, on="number", how="left", maintain_order="left")["ordinal"]
