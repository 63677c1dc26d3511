"""Numbers: found by a keyed token, given back from a sealed copy, counted by first appearance."""

import itertools

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain import identity
from services.ingest.domain.identity import Ordinals, VaultKeys
from tests.ingest.made import patient

KEYS = VaultKeys(1, b"t" * 32, b"v" * 32)
NUMBERS = st.lists(st.one_of(st.none(), st.integers(13800000000, 13800000009)), max_size=30)


def nonces() -> object:
    counter = itertools.count()
    return lambda size: next(counter).to_bytes(size, "big")


def test_a_sealed_number_opens_only_whole_under_its_own_key_and_as_what_it_was_sealed() -> None:
    """R002-094: the column of numbers is encrypted, and a byte changed or another key opens nothing."""
    sealed = KEYS.seal_numbers(["13800000001"], nonces())[KEYS.token("13800000001")]  # type: ignore[arg-type]
    assert KEYS.open_number(sealed) == "13800000001"
    assert b"1380" not in sealed
    for wrong in (sealed[:-1] + bytes([sealed[-1] ^ 1]), KEYS.seal(b"13800000001", b"reject", nonces())):  # type: ignore[arg-type]
        with pytest.raises(InvalidTag):
            KEYS.open_number(wrong)
    with pytest.raises(InvalidTag):
        VaultKeys(1, b"t" * 32, b"w" * 32).open_number(sealed)


def test_a_token_depends_on_the_key_and_keys_are_not_shown() -> None:
    assert KEYS.token("13800000001") == KEYS.token("13800000001")
    assert KEYS.token("13800000001") != VaultKeys(1, b"u" * 32, b"v" * 32).token("13800000001")
    assert "tttt" not in repr(KEYS)
    assert "vvvv" not in repr(KEYS)


@patient
@given(st.lists(NUMBERS, max_size=6))
def test_ordinals_count_numbers_from_0_by_first_appearance_over_batches(batches: list[list[int | None]]) -> None:
    ordinals, known = Ordinals(), dict[int, int]()
    for batch in batches:
        expected = [None if number is None else known.setdefault(number, len(known)) for number in batch]
        assert ordinals.take(pl.Series("number", batch, dtype=pl.Int64)).to_list() == expected
    assert ordinals.numbers(0, 3) + ordinals.numbers(3, 99) == [str(number) for number in known]


TEXTS = st.lists(
    st.sampled_from(
        ["13912345678", "139 1234-5678", "１３９１２３４５６７８", "1 3 9 1 2 3 4 5 6 7 8", "86", "0", "1", "a", "e",
         "-", " ", "中", "0123abcd" * 2, "1391234567"]
    ),
    max_size=7,
).map("".join)  # fmt: skip


@patient
@given(TEXTS)
def test_numbers_are_found_and_masked_alike_in_one_text_and_in_a_column(text: str) -> None:
    column = pl.DataFrame({"text": [text]}).select(
        found=identity.holds_numbers(pl.col("text")), masked=identity.masked_all(pl.col("text"))
    )
    assert column.rows() == [(identity.holds_number(text), identity.masked(text))]
    assert not identity.holds_number(identity.masked(text))


def test_numbers_side_by_side_are_all_masked_and_longer_runs_of_digits_are_left() -> None:
    text = "13912345678,13812345678 8613712345678 139123456789"
    assert identity.masked(text) == "***********,*********** *********** 139123456789"


@pytest.mark.parametrize(
    "text",
    ["139 1234 5678", "139-1234-5678", "1391234 5678", "+86 139.1234.5678", "１３９１２３４５６７８", "139　1234　5678",
     "1 3 9 1 2 3 4 5 6 7 8", "1-3-9-1-2-3-4-5-6-7-8", "８６１３９１２３４５６７８"],
)  # fmt: skip
def test_a_number_is_masked_however_it_is_written(text: str) -> None:
    assert identity.masked(f"打{text}。") in ("打***********。", "打+***********。")
    column = pl.DataFrame({"text": [f"打{text}。"]}).select(identity.masked_all(pl.col("text")))
    assert not set("0123456789０１２３４５６７８９") & set(column.item())


@pytest.mark.parametrize("text", ["13.91234567", "2026-09-01 13:12:34", "139123456", "113.71762 23.02827", "1 391 234"])
def test_what_is_only_like_a_number_is_left(text: str) -> None:
    assert identity.masked(text) == text
