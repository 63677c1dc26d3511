"""Keys and tokens: made on this machine, kept, renewed in time, and private."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from deploy.local.keys import AUDIENCE, ISSUER, LIFE, SERVICES, Keys, KeysLost

DAY = 86_400


def claims(keys: Keys, token: str) -> dict[str, object]:
    """Verifies a token as a service does: with the published keys alone."""
    published = KeySet.import_key_set(json.loads(keys.jwks.read_text()))
    return jwt.decode(token, published, algorithms=["ES256"]).claims


def test_every_token_verifies_with_the_published_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    for who, path in keys.tokens().items():
        found = claims(keys, path.read_text().strip())
        assert (found["iss"], found["aud"], found["sub"]) == (ISSUER, AUDIENCE, who)


def test_services_are_peers_and_only_contact_and_the_demo_may_reveal_numbers(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    roles = {who: set(claims(keys, path.read_text().strip())["roles"]) for who, path in keys.tokens().items()}  # type: ignore[call-overload]
    assert all("service" in roles[service] for service in SERVICES)
    assert {who for who in roles if "privacy" in roles[who]} == {"contact", "demo", "administrator"}
    assert "service" not in roles["operator"] | roles["viewer"] | roles["demo"]


def test_the_published_keys_hold_nothing_private(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    assert all("d" not in key for key in json.loads(keys.jwks.read_text())["keys"])


def test_every_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    Keys(tmp_path).prepare()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_two_machines_share_a_secret(tmp_path: Path) -> None:
    one, two = Keys(tmp_path / "one"), Keys(tmp_path / "two")
    one.prepare()
    two.prepare()
    assert one.vault.read_text() != two.vault.read_text()
    assert one.password("points") != two.password("points")
    assert len({one.password(service) for service in SERVICES}) == len(SERVICES)
    with pytest.raises(Exception, match=r"(?i)key|signature"):
        claims(two, one.token("operator").read_text().strip())


def test_a_second_up_changes_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert keys.prepare() == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_token_is_renewed_before_its_end_and_with_the_same_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    now = time.time()
    keys.prepare(now=now)
    published = keys.jwks.read_text()
    assert keys.prepare(now=now + 19 * DAY) == []
    assert "token of operator" in keys.prepare(now=now + 21 * DAY)
    assert claims(keys, keys.token("operator").read_text().strip())["exp"] == int(now + 21 * DAY) + LIFE
    assert keys.jwks.read_text() == published


def test_a_spoilt_token_is_written_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    keys.token("viewer").write_text("nonsense")
    assert keys.prepare() == ["token of viewer"]


def test_a_lost_vault_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    keys.vault.unlink()
    with pytest.raises(KeysLost, match="put it back"):
        keys.prepare()


def test_a_minted_token_names_its_subject_roles_and_organisation(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.prepare()
    found = claims(keys, keys.mint("S001", ["staff"], org="310101", life=60))
    assert (found["sub"], found["roles"], found["org"]) == ("S001", ["staff"], "310101")
