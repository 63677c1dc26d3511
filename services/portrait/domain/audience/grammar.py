"""The readable form of an audience, for people who know tags and no API.

    HU04 AND VA01 IN (高端, 中端) AND NOT "静默客户"
    AT LEAST 2 OF (arpu_3m_avg >= 100, age BETWEEN 20 AND 30, LIST 'school-lists')
    AUDIENCE 'young-commuters' VERSION 3 OR FROZEN '0199…' OR SEGMENT '动感地带-2'

OR binds weakest, then AND, then NOT. 且, 或 and 非 say the same as AND, OR and NOT. A tag is named by its code, or by
its Chinese name in double quotes. Values and ids stand in single quotes, unless they are plain words. Signs may be
those of a Chinese keyboard: （ ） ， 、 “ ” ‘ ’ ＝ ≤ ≥ ≠.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.portrait.domain.audience.expression import (
    MOST_DEPTH,
    MOST_VERSION,
    RESERVED,
    AllOf,
    AnyOf,
    AtLeast,
    AudienceInvalid,
    Everybody,
    Expression,
    FeatureBetween,
    Frozen,
    InSegment,
    Listed,
    Not,
    Saved,
    TagIs,
)

_TOKEN = re.compile(
    r"""\s*(?:(?P<word>[^\W\d]\w*)|(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<single>'(?:[^']|'')*'|‘[^’]*’)|(?P<double>"[^"]*"|“[^”]*”)|(?P<sign><=|>=|!=|[=(),（），、＝≤≥≠]))"""
)
_CHINESE = {"且": "AND", "或": "OR", "非": "NOT"}
_SIGNS = {"（": "(", "）": ")", "，": ",", "、": ",", "＝": "=", "≤": "<=", "≥": ">=", "≠": "!="}
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str, tags: Mapping[str, frozenset[str]], names: Mapping[str, str]) -> Expression:
    """The expression of a text. `tags` are the known codes, `names` the code of each Chinese name.

    Raises AudienceInvalid with the character, from 0, at which it is not understood.
    """
    parser = _Parser(_tokens(text), tags, names)
    found = parser.either(0)
    parser.end()
    return found


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            raise AudienceInvalid(str(start), f"{text[start : start + 12]!r} is not understood")
        kind = match.lastgroup or ""
        word = match[kind]
        if kind == "word" and (word.upper() in RESERVED or word in _CHINESE):
            found.append(_Token("key", _CHINESE.get(word, word.upper()), match.start(kind)))
        else:
            found.append(_Token(kind, _SIGNS.get(word, word), match.start(kind)))
        at = match.end()
    found.append(_Token("end", "the end", len(text)))
    return found


class _Parser:
    """Recursive descent, one method a level of the grammar."""

    def __init__(self, tokens: list[_Token], tags: Mapping[str, frozenset[str]], names: Mapping[str, str]) -> None:
        self._tokens, self._at = tokens, 0
        self._tags, self._names = tags, names

    def either(self, depth: int) -> Expression:
        return self._joined("OR", AnyOf, lambda: self._joined("AND", AllOf, lambda: self._one(depth)))

    def end(self) -> None:
        if self._now.kind != "end":
            raise self._wrong("AND, OR or the end")

    def _joined(self, word: str, kind: type[AllOf] | type[AnyOf], part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self._taken("key", word):
            parts.append(part())
        return kind(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> Expression:
        token = self._now
        if depth >= MOST_DEPTH:
            raise AudienceInvalid(str(token.at), f"lies deeper than {MOST_DEPTH} levels")
        if self._taken("key", "NOT"):
            return Not(self._one(depth + 1))
        if self._taken("sign", "("):
            inner = self.either(depth + 1)
            self._need("sign", ")")
            return inner
        if token.kind == "key":
            return self._keyed(depth)
        if token.kind == "double":
            self._at += 1
            name = token.text[1:-1]
            if name not in self._names:
                raise AudienceInvalid(str(token.at), f"the catalogue has no tag named {name}")
            return self._tag(self._names[name])
        if token.kind == "word":
            self._at += 1
            return self._tag(token.text) if token.text in self._tags else self._feature(token)
        raise self._wrong("a tag, a feature, NOT or (")

    def _keyed(self, depth: int) -> Expression:
        token = self._now
        self._at += 1
        if token.text == "EVERYBODY":
            return Everybody()
        if token.text in ("AT", "ALL", "ANY"):
            count = self._count() if token.text == "AT" else 0
            self._need("key", "OF")
            self._need("sign", "(")
            parts = [self.either(depth + 1)]
            while self._taken("sign", ","):
                parts.append(self.either(depth + 1))
            self._need("sign", ")")
            if token.text == "AT":
                if count > len(parts):
                    raise AudienceInvalid(str(token.at), f"at least {count} of {len(parts)} parts")
                return AtLeast(count, tuple(parts))
            return AllOf(tuple(parts)) if token.text == "ALL" else AnyOf(tuple(parts))
        if token.text == "AUDIENCE":
            audience_id = self._id()
            return Saved(audience_id, self._whole() if self._taken("key", "VERSION") else 0)
        if token.text == "LIST":
            return Listed(self._id())
        if token.text == "FROZEN":
            return Frozen(self._value())
        if token.text == "SEGMENT":
            return InSegment(self._value())
        self._at -= 1
        raise self._wrong("a tag, a feature, NOT or (")

    def _count(self) -> int:
        self._need("key", "LEAST")
        return self._whole()

    def _tag(self, code: str) -> Expression:
        if self._taken("sign", "="):
            return TagIs(code, (self._value_of(code),))
        if self._taken("sign", "!="):
            return AllOf((TagIs(code), Not(TagIs(code, (self._value_of(code),)))))
        if self._taken("key", "IN"):
            self._need("sign", "(")
            values = [self._value_of(code)]
            while self._taken("sign", ","):
                values.append(self._value_of(code))
            self._need("sign", ")")
            return TagIs(code, tuple(values))
        return TagIs(code)

    def _feature(self, token: _Token) -> Expression:
        if self._taken("sign", "<="):
            return FeatureBetween(token.text, None, self._number())
        if self._taken("sign", ">="):
            return FeatureBetween(token.text, self._number(), None)
        if self._taken("key", "BETWEEN"):
            at, least = self._now.at, self._number()
            self._need("key", "AND")
            most = self._number()
            if least > most:
                raise AudienceInvalid(str(at), f"nothing lies between {least:g} and {most:g}")
            return FeatureBetween(token.text, least, most)
        if self._taken("sign", "="):
            value = self._number()
            return FeatureBetween(token.text, value, value)
        near = [code for code in self._tags if code.casefold() == token.text.casefold()]
        hint = f"; did you mean {near[0]}?" if near else "; a feature is followed by >=, <=, = or BETWEEN"
        raise AudienceInvalid(str(token.at), f"the catalogue has no tag {token.text}{hint}")

    def _value(self) -> str:
        token = self._now
        if token.kind not in ("word", "single", "number"):
            raise self._wrong("a value")
        self._at += 1
        return token.text[1:-1].replace("''", "'") if token.kind == "single" else token.text

    def _value_of(self, code: str) -> str:
        token, value, known = self._now, self._value(), self._tags[code]
        if known and value not in known:
            raise AudienceInvalid(str(token.at), f"{code} has no value {value}; it has {', '.join(sorted(known))}")
        return value

    def _id(self) -> str:
        token, value = self._now, self._value()
        if not _ID.fullmatch(value):
            raise AudienceInvalid(str(token.at), f"{value!r} is no id: small letters, digits, _ and -")
        return value

    def _whole(self) -> int:
        token, value = self._now, self._number()
        if not value.is_integer() or not 1 <= value <= MOST_VERSION:
            raise AudienceInvalid(str(token.at), f"expected a whole number from 1 on, found {token.text}")
        return int(value)

    def _number(self) -> float:
        token = self._need("number", None)
        if not math.isfinite(float(token.text)):
            raise AudienceInvalid(str(token.at), f"{token.text} is too large")
        return float(token.text)

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _taken(self, kind: str, text: str) -> bool:
        if self._now.kind == kind and self._now.text == text:
            self._at += 1
            return True
        return False

    def _need(self, kind: str, text: str | None) -> _Token:
        token = self._now
        if token.kind != kind or (text is not None and token.text != text):
            raise self._wrong(text or f"a {kind}")
        self._at += 1
        return token

    def _wrong(self, expected: str) -> AudienceInvalid:
        return AudienceInvalid(str(self._now.at), f"expected {expected}, found {self._now.text}")
