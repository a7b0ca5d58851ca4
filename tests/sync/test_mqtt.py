"""Broker URLs: what is read, what is refused, and that a password never shows."""

import pytest

from sync import SyncError
from sync.mqtt import BrokerAddress


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://127.0.0.1:1884", BrokerAddress("127.0.0.1", 1884)),
        ("mqtt://broker.example", BrokerAddress("broker.example", 1883)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, tls=True)),
        ("mqtt://[::1]:1884/", BrokerAddress("::1", 1884)),
        ("mqtts://kim:p%40ss@b:1", BrokerAddress("b", 1, tls=True, username="kim", password="p@ss")),
    ],
)
def test_urls_are_read(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "scheme"),
        ("127.0.0.1:1883", "scheme|form"),
        ("http://kim:secret@b", "scheme"),
        ("mqtt://", "no host"),
        ("mqtt://kim:secret@:1883", "no host"),
        ("mqtt://b:99999", "form"),
        ("mqtt://kim:secret@b:port", "form"),
        ("mqtt://kim:secret@b/topic", "follow"),
    ],
)
def test_what_is_no_broker_url_is_refused_without_repeating_a_password(url: str, says: str) -> None:
    with pytest.raises(SyncError, match=says) as refused:
        BrokerAddress.parse(url)
    assert "secret" not in str(refused.value)


def test_the_text_of_an_address_holds_no_password() -> None:
    address = BrokerAddress.parse("mqtts://kim:secret@b:1")
    assert str(address) == "mqtts://b:1"
    assert "secret" not in repr(address)
