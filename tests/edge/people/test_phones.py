"""A phone is read once, shown masked, and found again without being stored readable."""

import pytest

from edge.people.phones import BadPhone, number_hmac, parse_phone, parse_reported, reported_hmac

PEPPER = bytes(range(32))


@pytest.mark.parametrize(
    "typed",
    [
        "13800005678",
        "138 0000 5678",
        "+86 138-0000-5678",
        "0086 138 0000 5678",
        "\uff11\uff13\uff18\uff10\uff10\uff10\uff10\uff15\uff16\uff17\uff18",
    ],
)
def test_however_it_is_typed_a_number_is_one_number(typed: str) -> None:
    phone = parse_phone(typed)
    assert phone.e164 == "+8613800005678"
    assert phone.masked == "138****5678"
    assert phone.reported == "1385678"


def test_a_number_of_another_country_needs_its_plus() -> None:
    assert parse_phone("+852 5123 4567").e164 == "+85251234567"
    assert parse_phone("+852 5123 4567").masked == "+852 ****67"
    assert parse_phone("+44 7911 123456").masked == "+44 791****3456", "not to be read as a number of ours"


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("abc", "unreadable"),
        ("1380000567", "impossible"),
        ("12345678901234", "impossible"),
    ],
)
def test_what_is_no_number_is_refused_in_one_line_that_does_not_repeat_it(typed: str, fault: str) -> None:
    with pytest.raises(BadPhone) as refused:
        parse_phone(typed)
    assert refused.value.fault == fault
    assert "\n" not in str(refused.value)
    assert not typed.strip() or typed not in str(refused.value)


def test_the_same_number_has_the_same_hmac_and_only_under_the_same_pepper() -> None:
    phone, other = parse_phone("13800005678"), parse_phone("13800015678")
    assert number_hmac(PEPPER, phone) == number_hmac(PEPPER, parse_phone("+8613800005678"))
    assert number_hmac(PEPPER, phone) != number_hmac(PEPPER, other)
    assert number_hmac(PEPPER, phone) != number_hmac(bytes(32), phone)
    assert reported_hmac(PEPPER, phone.reported) == reported_hmac(PEPPER, other.reported) != number_hmac(PEPPER, phone)


@pytest.mark.parametrize("typed", ["1385678", "138****5678", " 138 5678 ", "138xxxx5678", "138-5678"])
def test_the_digits_of_a_report_are_read_however_they_are_masked(typed: str) -> None:
    assert parse_reported(typed) == parse_phone("13800005678").reported


@pytest.mark.parametrize("typed", ["", "13800005678", "138", "+8613800005678", "138****567", "abc****5678"])
def test_what_is_not_three_and_four_digits_is_no_report(typed: str) -> None:
    assert parse_reported(typed) is None
