"""Nodes of one legal entity know a number by the same HMAC, and everything that was known stays known."""

from pathlib import Path

import pytest

from edge import EdgeError
from edge.desk.lookback import by_phone
from edge.orders import Orders
from edge.people.pepper import take_pepper, write_pepper
from edge.people.phones import number_hmac, parse_phone
from edge.people.vault import opened
from sync.node import sidecars
from tests.edge.conftest import MakeHome
from tests.edge.rights.office import NUMBER, Office
from tests.edge.test_orders import Central


def test_another_nodes_pepper_makes_every_hmac_anew_and_central_hears_it(
    office: Office, make_home: MakeHome, tmp_path: Path
) -> None:
    other, file = make_home("other"), tmp_path / "pepper.key"
    with opened(other.database, other.keys_database) as vault:
        shared = vault.pepper()
        write_pepper(vault, file)
        with pytest.raises(EdgeError, match="already there"):
            write_pepper(vault, file)
    assert file.stat().st_mode & 0o077 == 0
    office.check_in()
    Central(tmp_path / "central", office.home)
    Orders(office.home, office.home.settings()).seal_phones(office.node, office.vault)
    (before,) = sidecars.waiting(office.node.connection, (1, 10_000))
    sidecars.taken(office.node.connection, [before.record])
    for _ in range(2):  # done twice is as done once
        take_pepper(office.desk, office.vault, office.home.keys_database, file)
    (after,) = sidecars.waiting(office.node.connection, (1, 10_000))
    assert after.number_hmac == number_hmac(shared, parse_phone(NUMBER)) != before.number_hmac
    assert (after.record, after.sealed) == (before.record, before.sealed)
    assert by_phone(office.desk, office.vault, parse_phone(NUMBER)) is not None


@pytest.mark.parametrize("text", ["", "firstvisit-phone-pepper-v1 00", "firstvisit-phone-pepper-v1 zz", "00" * 32])
def test_what_is_no_pepper_is_refused_and_nothing_changed(office: Office, tmp_path: Path, text: str) -> None:
    file, before = tmp_path / "pepper.key", office.vault.pepper()
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(EdgeError, match="not a phone pepper"):
        take_pepper(office.desk, office.vault, office.home.keys_database, file)
    file.chmod(0o644)
    with pytest.raises(EdgeError, match="everyone may read"):
        take_pepper(office.desk, office.vault, office.home.keys_database, file)
    assert office.vault.pepper() == before
