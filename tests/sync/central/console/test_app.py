import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from sync.central.corrections import NotAnswered, answer
from sync.central.ingest import Arrived
from sync.central.keys import load_serving_keys
from sync.central.log import CentralLog
from sync.central.nightly import CentralNight
from sync.central.notices import order
from sync.central.store.location import accounts_path, open_store
from sync.format.accounts import Account
from sync.format.log_proof import LogHead
from sync.format.notices import AccountWord, Erase, Policy, read_order
from sync.format.records import Record
from sync.verify.nightly import Checked
from sync.web.accounts import Accounts
from sync.web.bodies import MAX_FORM_BYTES
from sync.web.server import PageServer
from tests.conftest import answered_early, form_token
from tests.sync.central.console.conftest import PASSWORD, NodeAndCentral

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGES = ("/", "/visits", "/nodes/{node_id}", "/corrections")
FORMS = ("/corrections/{node_id}/{proposal}",)
PARTS = ("/events", "/fragments/nodes", "/fragments/visits", "/fragments/nodes/{node_id}")
OPEN = ("/login", "/login/pin", "/logout", "/session")


def _shown(client: httpx.Client, path: str) -> list[str]:
    """The visits' decisions as listed, newest first."""
    return re.findall(r'<tr class="d-(\w+)">', client.get(path).text)


def test_every_route_is_spoken_for(console: PageServer) -> None:
    assert {route.path for route in console.app.routes if hasattr(route, "methods")} == {*PAGES, *FORMS, *PARTS, *OPEN}


@pytest.mark.parametrize("name", [None, "zhou", "li"])
def test_each_route_lets_in_only_its_roles(
    console: PageServer, central: NodeAndCentral, sign_in: Callable[..., httpx.Response], name: str | None
) -> None:
    # li has a kiosk's role, which means nothing here
    with httpx.Client(base_url=console.url, headers={"origin": console.url}, timeout=20) as client:
        if name:
            assert sign_in(client, name, PASSWORD).status_code == 303
        for path in PAGES:
            status = client.get(path.format(node_id=central.node_id)).status_code
            assert status == {None: 303, "zhou": 200, "li": 403}[name], path
        for path in PARTS:
            with client.stream("GET", path.format(node_id=central.node_id)) as answer:
                assert answer.status_code == {None: 401, "zhou": 200, "li": 403}[name], path


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_stranger_s_long_body_is_refused_before_it_is_read(console: PageServer, kind: str) -> None:
    assert answered_early(console.port, "/login", kind, MAX_FORM_BYTES).startswith(b"HTTP/1.1 413")


def test_a_node_tells_presence_lag_chain_and_clock(reader: httpx.Client, central: NodeAndCentral) -> None:
    before = reader.get("/?lang=en").text
    assert "never connected" in before
    assert "no record yet" in before
    central.arrive("first", "v1")
    central.deliver(claimed_beyond=17)
    page = reader.get("/?lang=en").text
    for told in ("puxi-01-a", "Online", "Intact", "1 verified", "17 records", "Synchronised", "4 ms", "mobilefacenet"):
        assert told in page
    assert "inside the fence" in page
    detail = reader.get("/nodes/puxi-01-a?lang=en").text
    assert "the node says: chain to #18, acknowledged to #1" in detail
    for told in ("inside the fence", "31.23040, 121.47370", "visit.first", "1.1"):
        assert told in detail
    assert reader.get("/nodes/none").status_code == 404


def test_what_was_refused_is_counted_and_shown_harmlessly(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.deliver()
    central.ingest.take(central.ingest.read([Arrived("<b>x</b>", b"junk"), Arrived("<b>x</b>", b"junk")]), 1)
    page = reader.get("/").text
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page


def test_visits_are_told_with_their_horizon_and_newest_first(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.arrive("first", "v1", ago_s=900)
    central.arrive("return", "v2", ago_s=60, similarity_e6=710_000)
    central.arrive("first", "v3", ago_s=600, source="file", grade="C")
    central.deliver()
    assert _shown(reader, "/visits") == ["return", "first", "first"]
    page = reader.get("/visits").text
    assert "首访\uff08比对范围内\uff09" in page
    assert "比对范围内\uff1a126 人" in page
    assert "0.71" in page
    assert page.count('<span class="tag warn">测试</span>') == 1


def test_a_visit_tells_how_long_strangers_are_remembered(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.arrive("first", "v1", unconsented_horizon_s=86_400)
    central.deliver()
    assert "未授权者只保留 24 小时" in reader.get("/visits").text
    english = reader.get("/visits?lang=en").text
    assert "among 126 people" in english
    assert "people without consent are remembered for 24 h" in english


def test_a_node_s_place_follows_its_records(reader: httpx.Client, central: NodeAndCentral) -> None:
    place = {"lat_e7": 312304000, "lon_e7": 1214737000, "accuracy_e6": 20_000_000, "source": "installer"}
    for visit, more, says in (
        ("v0", {"inside": "unknown"}, "no fence"),
        ("v3", {"inside": "unknown", "fence": "0" * 64}, "inside or outside: unknown"),
        ("v1", {"inside": "in", "fence": "0" * 64}, "inside the fence"),
    ):
        central.arrive("first", visit, place=place | more)
        central.deliver()
        assert says in reader.get("/?lang=en").text
    assert "entered by the installer" in reader.get("/?lang=en").text
    central.arrive("first", "v2", place=place | {"lat_e7": 313000000, "inside": "out"})
    central.deliver()
    assert "outside the fence" in reader.get("/").text
    assert "31.30000" in reader.get("/nodes/puxi-01-a").text


def test_visits_are_chosen_by_node_and_by_corrected_decision(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.arrive("first", "v1")
    central.arrive("unsure", "v2", candidates=[{"person": "p-v1", "similarity_e6": 460_000}])
    central.desk.append(
        "visit.corrected",
        {"visit": "v2", "decision": "return", "person": "p-v1", "reason": "same_person", "account": "acc-1"},
    )
    central.deliver()
    assert _shown(reader, "/visits?decision=return") == ["return"]
    assert "原判\uff1a待确认" in reader.get("/visits?decision=return").text
    assert _shown(reader, "/visits?decision=unsure") == []
    assert len(_shown(reader, "/visits?node=puxi-01-a")) == 2
    assert _shown(reader, "/visits?node=none") == []


def test_pages_of_visits_neither_skip_nor_repeat(reader: httpx.Client, central: NodeAndCentral) -> None:
    for number in range(120):
        central.arrive("return" if number % 2 else "first", f"v{number}", ago_s=120 - number)
    central.deliver()
    for choice, expected in (("", 120), ("&decision=first", 60)):
        seen: list[str] = []
        path: str | None = f"/visits?{choice}"
        while path:
            page = reader.get(path).text
            seen += re.findall(r"<span>#(\d+) <code>", page)
            assert len(seen) <= expected
            older = re.search(r'href="[^"]*before=(\d+\.\d+)"', page)
            path = f"/visits?before={older[1]}{choice}" if older else None
        assert len(seen) == len(set(seen)) == expected


def test_a_node_that_writes_nonsense_does_not_break_the_pages(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.arrive("first", "<script>1</script>", camera="<i>cam</i>", grade="Z", pack="<p>", place={"lat_e7": "x"})
    central.deliver()
    for path in ("/", "/visits", "/nodes/puxi-01-a"):
        answer = reader.get(path)
        assert answer.status_code == 200, path
        assert "<i>cam" not in answer.text
        assert "<script>1" not in answer.text


def test_a_place_in_the_list_that_no_page_has_written_is_ignored(reader: httpx.Client, central: NodeAndCentral) -> None:
    central.arrive("first", "v1")
    central.deliver()
    for before in (f"{2**63}.1", f"1.{'9' * 19}", f"{'9' * 5000}.{'9' * 5000}", "1.²", "x"):
        answer = reader.get("/visits", params={"before": before})
        assert answer.status_code == 200, before[:30]
        assert 'class="d-first"' in answer.text


def test_what_was_refused_is_told_in_the_readers_language(reader: httpx.Client, central: NodeAndCentral) -> None:
    arrived = [Arrived("stranger", b"x"), Arrived("puxi-01-a", b"x")]
    central.ingest.take(central.ingest.read(arrived), 1_800_000_000_000_000)
    chinese, english = reader.get("/?lang=zh").text, reader.get("/?lang=en").text
    for told in ("未登记", "节点未登记", "消息无法解读"):
        assert told in chinese
    for told in ("not enrolled", "Unknown node", "Unreadable message"):
        assert told in english
    assert "unknown-node" not in chinese + english


def test_a_nodes_page_lists_what_it_was_told_and_what_it_has_answered(
    reader: httpx.Client, central: NodeAndCentral
) -> None:
    order(central.directory, central.node_id, Erase("p-" + "0a" * 10, "consent_withdrawn"))
    order(central.directory, central.node_id, Policy())
    with open_store(central.directory) as store:
        keys = store.notices(central.node_id)[0]
    central.ledger.append("notice.applied", {"nseq": 1, "hash": keys.hash.hex()})
    central.deliver()
    chinese, english = (reader.get(f"/nodes/puxi-01-a?lang={language}").text for language in ("zh", "en"))
    for told in ("中心的通知", "中心的密钥", "删除人员", "采集策略", "收回先前的要求", "已执行", "待节点答复"):
        assert told in chinese
    for told in ("Central&#39;s keys", "Erase a person", "takes back what was asked", "p-" + "0a" * 10):
        assert told in english
    assert (english.count(">Applied<"), english.count(">Open<")) == (1, 2)


def test_a_nodes_page_tells_whether_it_witnessed_this_log(reader: httpx.Client, central: NodeAndCentral) -> None:
    def witness() -> str:
        page = reader.get(f"/nodes/{central.node_id}?lang=en").text
        return page.split("Witness of this log", 1)[1].split("</dd>", 1)[0]

    assert "None yet" in witness()
    central.ledger.append("camera.up", {"camera": "entrance"})
    central.deliver()
    with open_store(central.directory) as store:
        checkpoint, _ = CentralLog(store, load_serving_keys(central.directory)).checkpoint()
    central.ledger.append("node.alive", {"people": 0, "log": LogHead(checkpoint.size, checkpoint.root).fields()})
    central.deliver()
    assert f"its first {checkpoint.size} entries" in witness()
    assert "the same here" in witness()
    central.ledger.append("node.alive", {"people": 0, "log": LogHead(checkpoint.size, b"x" * 32).fields()})
    central.deliver()
    assert "A node witnessed another log than this one" in witness()
    assert "A node witnessed another log than this one" in reader.get("/").text


def test_answers_carry_strict_headers(reader: httpx.Client) -> None:
    for path in ("/", "/login", "/visits", "/fragments/nodes"):
        headers = reader.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_events_carry_ids_only_and_end_with_the_session(reader: httpx.Client, central: NodeAndCentral) -> None:
    with reader.stream("GET", "/events") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(("event", "data")))
        assert [next(lines), next(lines)] == ["event: start", "data: "]
        central.arrive("first", "v1")
        central.deliver()
        told = {(next(lines), next(lines)) for _ in range(2)}
        assert told == {("event: node", "data: puxi-01-a"), ("event: visit", "data: ")}
        with httpx.Client(base_url=reader.base_url, headers=reader.headers, cookies=reader.cookies) as second:
            second.post("/logout", data={"csrf_token": form_token(second, "/")})
        assert list(lines)[-2:] == ["event: ended", "data: "]


def test_a_visit_appears_in_an_open_page_without_a_reload(
    browser: "Browser", console: PageServer, central: NodeAndCentral
) -> None:
    asked: list[str] = []
    page = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=console.url).new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/login?lang=en")
    page.fill("input[name=name]", "zhou")
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("nav.rail")
    page.goto("/visits")
    assert page.get_attribute("html", "lang") == "en"
    assert "No visit matches" in page.inner_text("main")
    page.evaluate("window.sameDocument = true")
    central.arrive("first", "v1")
    central.deliver()
    page.wait_for_selector("tr.d-first")
    assert page.evaluate("window.sameDocument") is True
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/", "/visits", "/nodes/puxi-01-a"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} overflows"
    page.context.close()
    assert {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}


def test_what_the_night_found_stands_above_the_nodes(reader: httpx.Client, central: NodeAndCentral) -> None:
    night = CentralNight(central.directory)
    night.keep(Checked(1, 2, ok=True, checked=1234))
    assert "1,234 records verified at night" in reader.get("/?lang=en").text
    night.keep(Checked(3, 4, ok=False, why="node puxi-01-a: hash does not match the body", first_bad=17))
    page = reader.get("/?lang=en").text
    assert "found damage · seq 17: node puxi-01-a: hash does not match the body" in page


def test_a_nodes_page_lists_its_accounts_as_its_records_tell_of_them(
    reader: httpx.Client, central: NodeAndCentral
) -> None:
    auditor = {"account": "acc-" + "0a" * 8, "role": "auditor", "office": "head_office"}
    odd = [{"account": "13812345678", "act": "made", "role": "auditor"}, 7, {**auditor, "role": "<b>"}]
    for act in ("made", "password"):
        said = {"entries": 0, "link": "0" * 64, "accounts": [{**auditor, "act": act}, *odd]}
        central.desk.append("access.digest", said)
    central.deliver()
    chinese, english = (reader.get(f"/nodes/puxi-01-a?lang={language}").text for language in ("zh", "en"))
    for told in ("前台账号", "改了密码", "审计", "head_office"):
        assert told in chinese
    assert "another password" in english
    assert english.count(str(auditor["account"])) == 1, "an account is listed once, as it is now"
    assert "13812345678" not in english
    with open_store(central.directory) as store:
        (listed,) = store.node_accounts(central.node_id)
    assert (listed.epoch, listed.seq, listed.act) == (1, 2, "password")


def _ask(central: NodeAndCentral, **more: object) -> Record:
    """What a desk records when somebody asks for a correction of a visit it has registered."""
    said = {"visit": "v-1", "state": "registered", "way": "phone", "account": "acc-" + "1" * 16}
    checkin = central.desk.append("visit.checkin", said)
    about = {"checkin_epoch": checkin.epoch, "checkin_seq": checkin.seq, "account": "acc-" + "1" * 16}
    asked = {"visit": "v-1", "state": "proposed", "reason": "wrong_source", "way": "walk_in", "office": "puxi-01"}
    record = central.desk.append("visit.corrected", {**asked, **about, **more})
    central.deliver()
    return record


@pytest.fixture
def auditor(console: PageServer, sign_in: Callable[..., httpx.Response]) -> Iterator[httpx.Client]:
    """Somebody of head office who answers corrections."""
    with httpx.Client(base_url=console.url, headers={"origin": console.url}, timeout=20) as client:
        assert sign_in(client, "hao", PASSWORD).status_code == 303
        yield client


def _answer(client: httpx.Client, proposal: str, verdict: str) -> httpx.Response:
    form = {"csrf_token": form_token(client, "/corrections"), "verdict": verdict}
    return client.post(f"/corrections/puxi-01-a/{proposal}", data=form)


def test_head_office_answers_a_correction_by_a_notice_that_names_it(
    auditor: httpx.Client, central: NodeAndCentral
) -> None:
    asked = _ask(central)
    page = auditor.get("/corrections?lang=en").text
    for told in ("As registered</dt><dd>phone", "<strong>walk-in</strong>", "wrong source chosen", "puxi-01"):
        assert told in page
    proposal = asked.hash.hex()
    assert _answer(auditor, proposal, "approved").headers["location"] == "/corrections"
    with open_store(central.directory) as store:
        notice = store.newest_notices(central.node_id, 1)[0]
    account = Accounts(accounts_path(central.directory)).all()[0]
    assert read_order(notice.kind, notice.body) == AccountWord(
        account.account_id, "head_office", "v-1", proposal, "approved"
    )
    assert _answer(auditor, proposal, "refused").status_code == 409, "the first word stands"
    assert "待节点答复" in auditor.get("/corrections?lang=zh").text
    central.ledger.append("notice.applied", {"nseq": notice.nseq, "hash": notice.hash.hex()})
    central.deliver()
    assert "已写入案场记录链" in auditor.get("/corrections").text
    with open_store(central.directory) as store:
        assert len(store.notices_of_kind(central.node_id, "account")) == 1


def test_the_same_answer_sent_twice_is_one_notice(auditor: httpx.Client, central: NodeAndCentral) -> None:
    proposal = _ask(central).hash.hex()
    form = {"csrf_token": form_token(auditor, "/corrections"), "verdict": "refused"}
    for _ in range(2):
        assert auditor.post(f"/corrections/puxi-01-a/{proposal}", data=form).status_code == 303
    with open_store(central.directory) as store:
        assert len(store.notices_of_kind(central.node_id, "account")) == 1


def test_who_only_looks_answers_nothing_and_an_auditor_nothing_that_was_not_asked(
    reader: httpx.Client, auditor: httpx.Client, central: NodeAndCentral
) -> None:
    proposal = _ask(central).hash.hex()
    assert 'name="verdict"' not in reader.get("/corrections").text
    form = {"csrf_token": form_token(reader, "/"), "verdict": "approved"}
    assert reader.post(f"/corrections/puxi-01-a/{proposal}", data=form).status_code == 403
    for odd in ("0" * 64, "nothing", proposal.upper()):
        assert _answer(auditor, odd, "approved").status_code == 404
    assert _answer(auditor, proposal, "perhaps").status_code == 422
    with open_store(central.directory) as store:
        assert store.notices_of_kind(central.node_id, "account") == []


@pytest.mark.parametrize("office", ["puxi-01", "puxi-02", ""])
def test_nobody_of_the_site_or_the_office_that_asks_answers_at_central_either(
    central: NodeAndCentral, office: str
) -> None:
    proposal = _ask(central, office="puxi-02").hash.hex()
    account = Account("acc-" + "e" * 16, "hao", "auditor", office)
    with pytest.raises(NotAnswered, match="own_office"):
        answer(central.directory, central.node_id, proposal, "approved", account)


def test_what_the_desk_recorded_of_itself_is_shown_to_head_office(
    auditor: httpx.Client, central: NodeAndCentral
) -> None:
    asked = _ask(central)
    forged = {"visit": "v-1", "proposal": asked.hash.hex(), "verdict": "approved", "account": "acc-" + "7" * 16}
    central.desk.append("visit.approved", {**forged, "office": "head_office"})
    central.deliver()
    page = auditor.get("/corrections?lang=en").text
    assert "Recorded at the office" in page
    assert "acc-" + "7" * 16 in page
    assert 'name="verdict"' in page, "head office may still say otherwise"


def test_a_correction_shows_all_it_would_change_and_never_another_visits_registration(
    auditor: httpx.Client, central: NodeAndCentral
) -> None:
    said = {"visit": "v-2", "state": "registered", "way": "code", "agent": "a-innocent", "account": "acc-" + "1" * 16}
    other = central.desk.append("visit.checkin", said)
    about = {"checkin_epoch": other.epoch, "checkin_seq": other.seq}
    _ask(central, **about, agent=["a-thief"], report={"r": 1})
    page = auditor.get("/corrections?lang=en").text
    assert "a-innocent" not in page, "it is v-1 that is to be corrected"
    assert "agent ? · report ?" in page, "what an approval would make count is not left out"


def test_no_correction_is_pushed_off_the_list_before_it_is_answered(central: NodeAndCentral) -> None:
    first, second, third = (_ask(central, visit=f"v-{n}").hash.hex() for n in range(3))
    answer(central.directory, central.node_id, second, "refused", Account("acc-" + "e" * 16, "hao", "auditor", "hq"))
    with open_store(central.directory) as store:
        assert [one.proposal for one in store.corrections(2)] == [first, third]
        assert [one.proposal for one in store.corrections(3)] == [first, third, second]


def test_a_correction_full_of_nonsense_breaks_no_page(auditor: httpx.Client, central: NodeAndCentral) -> None:
    odd = {"way": "<b>" * 400, "first_us": 2**53 - 1, "agent": 5, "reason": "\x1b[31m", "account": "x" * 3000}
    proposal = _ask(central, visit="../" * 40, **odd).hash.hex()
    page = auditor.get("/corrections")
    assert page.status_code == 200
    assert "<b>" not in page.text
    assert _answer(auditor, proposal, "approved").status_code == 403, "no node of ours names a visit so"


def test_a_likeness_keeps_three_digits_and_a_party_says_that_it_may_grow(
    reader: httpx.Client, central: NodeAndCentral
) -> None:
    central.arrive("first", "v1", similarity_e6=995_100, margin_e6=800, party=2)
    central.deliver()
    page = reader.get("/visits?lang=en").text
    assert "± 4 ms" in page
    assert "Similarity 0.995 · margin 0.001" in page  # no 1.00 for a likeness that is none
    assert "2 together so far" in page
