"""axe-core over every page of the desk and of the visitors' phones, in both languages, on a tablet and on a phone."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from edge.kiosk.roles import HOMES
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_app import PAGES, ROLES
from tests.edge.kiosk.test_browser import PHONE, TABLET
from tests.edge.kiosk.test_visitor import FORM, Site, site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["site"]  # a fixture

SCREENS = (("zh", (TABLET, PHONE)), ("en", (PHONE, TABLET)))
FAULTS = """async () => (await axe.run({resultTypes: ["violations"]})).violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id} (${one.help}): ${one.nodes.map(node => node.html.slice(0, 160)).join(" | ")}`)"""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's own source."""
    carrier = pytest.importorskip("axe_playwright_python.base", reason="axe-core is not installed")
    return str(carrier.AXE_FILE_PATH.read_text())


def found(page: "Page", axe: str, size: dict[str, int]) -> list[str]:
    """The serious and critical faults of what a page shows; injected by the debugger, which the CSP does not bind."""
    page.set_viewport_size(size)  # type: ignore[arg-type]
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(axe)
    return [f"{page.url} at {size['width']}: {fault}" for fault in page.evaluate(FAULTS)]


def test_axe_finds_nothing_serious_on_any_page_of_the_desk(
    browser: "Browser", axe: str, site: Site, door: Door, sign_in: Callable[..., httpx.Response]
) -> None:
    clients = {name: _client(site.kiosk, name, sign_in) for name in ROLES}
    places = _a_full_day(site, door, clients)
    faults: list[str] = []
    seen: set[str] = set()
    for name, role in ROLES.items():
        context = browser.new_context(base_url=site.kiosk.url)
        context.add_cookies(
            [{"name": c.name, "value": c.value or "", "url": site.kiosk.url} for c in clients[name].cookies.jar]
        )
        page = context.new_page()
        for route in sorted(
            route for route, roles in PAGES.items() if role in roles and not route.endswith((".html", ".pdf"))
        ):
            if route in seen and route not in HOMES.values():
                continue  # it is the same for whoever may open it; what differs is the rail beside it
            seen.add(route)
            for language, sizes in SCREENS:
                answer = page.goto(f"{route.format(**places)}?lang={language}")
                assert answer is not None
                assert answer.status == 200, f"{route} as {name}"
                faults += [f"{name}: {fault}" for size in sizes for fault in found(page, axe, size)]
        context.close()
    assert not faults, "\n".join(faults)


def test_axe_finds_nothing_serious_on_what_a_visitor_s_phone_shows(
    browser: "Browser", axe: str, site: Site, door: Door, sign_in: Callable[..., httpx.Response]
) -> None:
    li = _client(site.kiosk, "li", sign_in)
    visit, _ = door.arrive("first", ago_s=60)
    until_shown(li, visit)
    page = browser.new_context(viewport=PHONE, base_url=site.visitors.url).new_page()  # type: ignore[arg-type]
    faults: list[str] = []

    def look() -> None:
        nonlocal faults
        for language in ("zh", "en"):
            page.goto(f"{page.url.split('?')[0]}?lang={language}")
            faults += found(page, axe, PHONE)

    page.goto("/")
    look()
    page.goto(f"/v/{site.code()}")
    form = page.url.split("/f/")[1].split("?")[0]
    look()
    with site.phone() as phone:
        phone.post(f"/f/{form}", data={**FORM, "phone": "12"})
        phone.post(f"/f/{form}", data=FORM)
    look()
    _send(li, f"/visits/{visit}/visitor", form_id=form[:32])
    look()
    page.wait_for_selector(".receipt img")
    page.goto("/f/none")
    look()
    page.context.close()
    assert not faults, "\n".join(faults)


def test_what_axe_would_find_is_found(browser: "Browser", axe: str) -> None:
    page = browser.new_page()
    page.set_content("<html lang=en><title>t</title><main><h1>t</h1><input><p style='color:#ccc'>pale</p></main>")
    assert sorted(fault.split(" at ")[1].split()[1] for fault in found(page, axe, TABLET)) == [
        "color-contrast",
        "label",
    ]
    page.close()


def _client(kiosk: PageServer, name: str, sign_in: Callable[..., httpx.Response]) -> httpx.Client:
    client = httpx.Client(base_url=kiosk.url, headers={"origin": kiosk.url}, timeout=20)
    assert sign_in(client, name, PASSWORD).status_code == 303
    return client


def _send(client: httpx.Client, path: str, **form: Any) -> str:
    """Send a form that is taken; returns where it leads."""
    sent = {"csrf_token": form_token(client, "/node"), "request_id": secrets.token_hex(16), **form}
    answer = client.post(path, data=sent)
    assert answer.status_code in (200, 303), (path, answer.status_code)
    return answer.headers.get("location", path)


def _a_full_day(site: Site, door: Door, clients: dict[str, httpx.Client]) -> dict[str, str]:
    """Something of everything on the pages; returns what their addresses name."""
    li, wang = clients["li"], clients["wang"]
    served, known = door.arrive("first", ago_s=7200)
    door.arrive("unsure", ago_s=600, candidates=((known, 0.46),), similarity=0.46)
    courier, carrier = door.arrive("first", ago_s=300)
    door.see(ago_s=60, party=2, party_id="g-seen")
    back, _ = door.arrive("return", person=carrier, similarity=0.7, party_id="g-1", party=1)
    family = [back, *(door.arrive("first", party_id="g-1", party=number)[0] for number in (2, 3))]
    until_shown(li, family[-1])
    _send(li, f"/visits/{served}/checkin", way="phone", phone="13800005678")
    _send(li, f"/visits/{courier}/dismiss", dismissal="courier")
    _send(li, f"/visits/{served}/correct", reason="wrong_source", way="walk_in")
    _send(li, f"/visits/{served}/note", text="客户说他上周来过")
    _send(clients["auditor"], "/rights/claims", whom="13800005678", reason="commission")
    erasure = _send(li, f"/visits/{served}/erase", reason="request", face="1", phone="1")
    _send(wang, "/enrol", role="staff", by="badge")
    sitting = _send(wang, "/enrol", role="staff", by="face", camera="entrance", consent="staff-1")
    _send(wang, "/tablets", name="left desk")
    with site.phone() as phone:
        phone.post(site.opened(phone), data=FORM)
    registered = next(record for record in site.checkins() if record.fields["visit"] == served)
    return {
        "visit_id": family[0],
        "place": f"{registered.epoch}.{registered.seq}",
        "epoch": erasure.split("/")[-1].split("-")[0],
        "seq": erasure.split("-")[-1],
        "sitting_id": sitting.split("/")[-1],
        "camera_id": "entrance",
    }
