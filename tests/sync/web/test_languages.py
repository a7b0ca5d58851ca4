import re
from pathlib import Path

import pytest
from starlette.requests import Request

import sync
from sync import SyncError
from sync.web.languages import Languages
from sync.web.pages import SHARED_TEXTS
from sync.web.times import Times, bounded, lasting

PACKAGE = Path(sync.__file__).parents[1]
CONSOLE = PACKAGE / "sync" / "central" / "console"
KIOSK = PACKAGE / "edge" / "kiosk"


def _request(query: str = "", cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


def test_chinese_is_the_default_and_a_choice_is_kept() -> None:
    languages = Languages(SHARED_TEXTS)
    assert languages.of(_request()).tag == "zh-CN"
    assert languages.of(_request(cookie="fv_language=en")).tag == "en"
    assert languages.of(_request("lang=zh", "fv_language=en")).tag == "zh-CN"
    assert languages.of(_request("lang=xx")).tag == "zh-CN"


def test_a_text_without_its_english_names_file_and_key(tmp_path: Path) -> None:
    bad = tmp_path / "texts.toml"
    bad.write_text('[page]\ntitle = { zh = "题" }\n')
    with pytest.raises(SyncError, match=r"texts\.toml: page\.title has no en"):
        Languages(bad)


@pytest.mark.parametrize("application", [KIOSK, CONSOLE], ids=["kiosk", "console"])
def test_both_languages_take_the_same_values(application: Path) -> None:
    languages = Languages(SHARED_TEXTS, application / "texts.toml")
    chinese, english = languages.of(_request("lang=zh")), languages.of(_request("lang=en"))
    for key, text in chinese._texts.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", english._texts[key])), key


@pytest.mark.parametrize("application", [KIOSK, CONSOLE], ids=["kiosk", "console"])
def test_every_text_a_template_names_is_there(application: Path) -> None:
    languages = Languages(SHARED_TEXTS, application / "texts.toml")
    known = set(languages.of(_request())._texts)
    templates = [*(application / "templates").glob("*.html"), *(SHARED_TEXTS.parent / "templates").glob("*.html")]
    named = {key for path in templates for key in re.findall(r'\bt\("([\w.]+)"[,)]', path.read_text())}
    assert len(named) > 20
    assert named <= known


def test_moments_are_told_in_the_sites_own_time() -> None:
    times = Times("Asia/Shanghai")
    us = 1_795_296_600_000_000  # 2026-11-21T21:30:00Z
    assert times.moment(us) == "2026-11-22 05:30"
    assert times.moment_s(us + 7_000_000) == "2026-11-22 05:30:07"
    assert times.exact(us) == "2026-11-22T05:30:00.000+08:00"
    assert times.moment(times.midnight_us(us)) == "2026-11-22 00:00"
    assert not times.today(us - 6 * 3600 * 10**6, us)


def test_a_bound_of_seconds_is_told_in_seconds() -> None:
    english = Languages(SHARED_TEXTS).of(_request("lang=en"))
    assert [bounded(us, english) for us in (4_000, 999_499, 999_500, 37_196_000)] == [
        "4 ms",
        "999 ms",
        "1.0 s",
        "37.2 s",
    ]


def test_lengths_of_time_are_told_in_the_unit_that_fits() -> None:
    english = Languages(SHARED_TEXTS).of(_request("lang=en"))
    told = [lasting(seconds, english) for seconds in (-3, 42, 38 * 60, 5 * 3600, 3 * 86400)]
    assert told == ["0 s", "42 s", "38 min", "5 h", "3 days"]
