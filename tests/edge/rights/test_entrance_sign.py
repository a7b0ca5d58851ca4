"""The sign at the entrance says who, what, why, how long and what people may ask for, as the mode calls for it."""

from pathlib import Path

import pytest
import typer.testing

from edge.cli import app
from edge.consent import CapturePolicy
from edge.papers.paper import PaperError, font_file
from edge.rights.entrance_sign import NoSign, Sign, SignSize, draw_sign, sign_of
from edge.settings import Settings, parse_settings

MADE_US = 1_790_000_000_000_000
OPERATOR = '[operator]\nname = "湖畔置业有限公司"\ncontact = "021-5555 0000"\n'


def settings(mode: str = "after_consent", operator: str = OPERATOR, **more: str) -> Settings:
    basis = more.get("basis", "与访客的协议第 3 条")
    return parse_settings(
        f'version = 1\n[site]\nid = "lakeside"\n[node]\nid = "door"\n{operator}'
        f'[capture]\nmode = "{mode}"\nlegal_basis = "{basis}"\n'
        "[retention]\nunconsented_h = 12\nconsented_days = 90\nphones_days = 60\n",
        "test",
    )


def sign(mode: str = "after_consent", **more: str) -> Sign:
    found = settings(mode, **more)
    return sign_of(found, CapturePolicy.of(found), MADE_US)


def text_of(made: Sign, language: int) -> str:
    pairs = [made.title, made.claim, *(pair for one in made.sections for pair in (one.head, *one.lines)), *made.foot]
    return "\n".join(pair[language] for pair in pairs)


@pytest.fixture
def font() -> None:
    try:
        font_file("Regular")
    except PaperError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("language", [0, 1])
def test_it_names_the_operator_the_contact_and_every_time(language: int) -> None:
    said = text_of(sign(), language)
    for part in ("湖畔置业有限公司", "021-5555 0000", "60", "90", "lakeside"):
        assert part in said
    assert "{" not in said


def test_it_says_what_the_mode_does_and_not_what_another_does() -> None:
    asks, compares = text_of(sign(), 0), text_of(sign("ephemeral"), 0)
    assert "未经您同意，不辨认您是谁" in asks
    assert "最多 60 分钟" in asks
    assert "法律依据" not in asks
    assert "12 小时后自动删除" in compares
    assert "与访客的协议第 3 条" in compares
    assert "60 分钟" not in compares
    assert "您愿意才用" in asks
    assert "您愿意才用" not in compares
    for said in (asks, compares):
        assert "为什么用人脸" in said
        assert "撤回同意" in said
        assert "未满 14 周岁" in said
        assert "不同意不影响接待" in said


def test_a_policy_that_central_has_made_stricter_is_what_the_sign_says() -> None:
    found = settings("ephemeral")
    stricter = CapturePolicy("after_consent", "", CapturePolicy.of(found).unconsented)
    assert "未经您同意，不辨认您是谁" in text_of(sign_of(found, stricter, MADE_US), 0)


@pytest.mark.parametrize("operator", ["", '[operator]\nname = "x"\n', '[operator]\ncontact = "x"\nname = " "\n'])
def test_without_somebody_to_answer_for_it_there_is_no_sign(operator: str) -> None:
    with pytest.raises(NoSign, match=r"operator\.(name|contact): missing"):
        sign(operator=operator)


@pytest.mark.usefixtures("font")
@pytest.mark.parametrize(("size", "media"), [("A4", b"[0 0 595.28 841.89]"), ("A3", b"[0 0 841.89 1190.55]")])
@pytest.mark.parametrize("mode", ["after_consent", "ephemeral"])
def test_it_is_one_page_of_the_size_asked_for(size: SignSize, media: bytes, mode: str) -> None:
    pdf = draw_sign(sign(mode), size, MADE_US)
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") == 1
    assert media in pdf


@pytest.mark.usefixtures("font")
def test_what_does_not_fit_a_page_is_refused_by_name() -> None:
    with pytest.raises(NoSign, match="too long for a sign of one page"):
        draw_sign(sign("ephemeral", basis="依据" * 600), "A4", MADE_US)


@pytest.mark.usefixtures("font")
def test_the_command_writes_a_file_once(tmp_path: Path) -> None:
    from edge.settings import new_config

    home = tmp_path / "home"
    home.mkdir()
    config = new_config(site="lakeside", node="door", place={"datum": "wgs84"}, capture={"mode": "after_consent"})
    (home / "firstvisit.toml").write_text(config + OPERATOR)
    runner, words = typer.testing.CliRunner(), ["sign", "--home", str(home), "--pdf", str(tmp_path / "sign.pdf")]
    told = runner.invoke(app, words)
    assert told.exit_code == 0, told.output
    assert (tmp_path / "sign.pdf").read_bytes().startswith(b"%PDF-")
    again = runner.invoke(app, words)
    assert isinstance(again.exception, NoSign)
    assert "already there" in str(again.exception)
