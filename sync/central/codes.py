"""Codes as central gives them out: signed, kept, taken back, and its nodes told."""

import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import segno

from sync import SyncError
from sync.central.keys import load_key, load_public
from sync.central.notices import append
from sync.central.store.codes import IssuedCode
from sync.central.store.location import migrate_store, open_store
from sync.central.store.store import Store
from sync.format.codes import SALT_BYTES, Code, CodeKind, SignedCode, fit_of, is_ours, subject_of
from sync.format.notices import CodeRevoked, Order, ReportKnown, read_order
from sync.storage.key_files import read_subject_key, write_subject_key

DAY_US = 86_400_000_000


def issue(
    directory: Path,
    kind: CodeKind,
    days: int,
    sites: Iterable[str] = (),
    agent_id: str | None = None,
    agency_id: str | None = None,
    digits: str | None = None,
) -> tuple[SignedCode, list[str]]:
    """Sign a code that is good from now for so many days, keep it, and tell the nodes of a report's sites.

    Returns it and the nodes told. A report's moment is now and nothing else: nobody can have reported yesterday what
    central learns today. digits: reported of its customer; kept nowhere, but as the code and its notices hash them.
    Raises SyncError where a kind's parts are not there, or a site has no node here.
    """
    if (kind == "report") != (digits is not None):
        raise SyncError("a report, and no other kind, has digits of a customer's number, such as 138-5678")
    if (kind == "site") != (agent_id is None):
        raise SyncError(f"a code of kind {kind} {'has no' if kind == 'site' else 'names its'} agent")
    migrate_store(directory)
    key = load_key(directory, "code", load_public(directory))
    now_us = time.time_ns() // 10**9 * 10**6
    salt = secrets.token_bytes(SALT_BYTES) if digits is not None else b""
    with open_store(directory) as store:
        known = {node.site_id for node in store.nodes()}
        if missing := sorted({*sites} - known):
            raise SyncError(f"site {missing[0]}: no node of it is enrolled here; {_where_else(known, directory)}")
        code = Code(
            kind,
            now_us,
            now_us + days * DAY_US,
            tuple(sorted({*sites})),
            f"rep-{secrets.token_hex(8)}" if digits is not None else None,
            agent_id,
            agency_id,
            salt,
            fit_of(salt, digits) if digits is not None else b"",
        )
        subject = subject_of(subject_key(directory), digits) if digits is not None else None
        issued = IssuedCode(code, subject, now_us, None, None)
        store.add_code(issued)
        told = _tell(store, directory, _nodes_of(store, code), _standing(issued))
    return code.seal(key), told


def has_code(directory: Path, agent_id: str | None) -> bool:
    """Whether a code of an agent's own was made here."""
    with open_store(directory) as store:
        return any(one.code.kind == "agent" and one.code.agent_id == agent_id for one in store.codes())


def find(directory: Path, named: str) -> IssuedCode:
    """The code that is meant: by its text, its hash or the first 8 of its digits, or the id of its report or agent.

    Raises SyncError where there is none, or where several are meant.
    """
    wanted = SignedCode.parse(named).code.hash if is_ours(named) else named.strip()
    with open_store(directory) as store:
        found = [
            one
            for one in store.codes()
            if wanted in (one.code.report_id, one.code.agent_id if one.code.kind == "agent" else None)
            or (len(wanted) >= 8 and one.code.hash.startswith(wanted.lower()))
        ]
    if len(found) != 1:
        raise SyncError(f"{named[:80]!r}: {len(found)} codes of this central are meant (firstvisit central code list)")
    return found[0]


def sign_again(directory: Path, issued: IssuedCode) -> SignedCode:
    """The code as it is shown today: under the code key in force."""
    return issued.code.seal(load_key(directory, "code", load_public(directory)))


def revoke(directory: Path, issued: IssuedCode, reason: str) -> list[str]:
    """Take a code back from now on, its report's protection too, and tell the nodes; returns who was told."""
    now_us = time.time_ns() // 1000
    code_hash = issued.code.hash
    said = CodeRevoked(code_hash, now_us, reason)
    read_order(said.KIND, said.fields())
    migrate_store(directory)
    with open_store(directory) as store:
        store.revoke_code(code_hash, now_us, reason)
        after = store.issued_code(code_hash)
        assert after is not None
        return _tell(store, directory, _nodes_of(store, issued.code), _standing(after))


def tell(directory: Path, node_id: str) -> int:
    """Tell a node what stands of every code it should know and was not told: one that joined later; returns how much.

    Codes whose time is up are passed over: they are refused everywhere by themselves.
    """
    migrate_store(directory)
    now_us, wrote = time.time_ns() // 1000, 0
    with open_store(directory) as store:
        site = next((node.site_id for node in store.nodes() if node.node_id == node_id), None)
        if site is None:
            raise SyncError(f"node {node_id}: not enrolled here")
        told = _told(store, node_id)
        for issued in store.codes():
            if issued.code.until_us > now_us and (not issued.code.sites or site in issued.code.sites):
                missing = [order for order in _standing(issued) if told.get(_about(order)) != order.fields()]
                _tell(store, directory, [node_id], missing)
                wrote += len(missing)
    return wrote


def subject_key(directory: Path) -> bytes:
    """32 bytes that central and its desks share, by which notices name a customer; made where there is none yet."""
    path = directory / "keys" / "subject.key"
    if not path.exists():
        write_subject_key(path)
    return read_subject_key(path)


def check_picture(out: Path) -> None:
    """Raise SyncError where no code can be written to: another ending, or something is there."""
    if out.suffix not in (".svg", ".png", ".txt"):
        raise SyncError(f"{out}: ends in none of .svg, .png, .txt")
    if out.exists():
        raise SyncError(f"{out}: is there already")


def draw(text: str, out: Path) -> None:
    """Write a code as .svg, .png or .txt; raises SyncError as `check_picture` does."""
    check_picture(out)
    try:
        with out.open("xb") as file:
            if out.suffix == ".txt":
                file.write(f"{text}\n".encode())
            else:
                segno.make(text, error="m").save(file, kind=out.suffix[1:], scale=8, border=4)
    except OSError as error:
        raise SyncError(f"{out}: {error.strerror}") from error


def _where_else(known: set[str], directory: Path) -> str:
    if known:
        return f"there are {', '.join(sorted(known))} (firstvisit central invite --dir {directory} lets another join)"
    return f"no node has joined yet: firstvisit central invite --dir {directory}, then firstvisit join on the node"


def _nodes_of(store: Store, code: Code) -> list[str]:
    return [node.node_id for node in store.nodes() if not code.sites or node.site_id in code.sites]


def _standing(issued: IssuedCode) -> list[Order]:
    """What nodes must know of a code beyond its text."""
    code, orders = issued.code, list[Order]()
    if code.report_id is not None and code.agent_id is not None and issued.subject is not None:
        until_us = code.until_us if issued.revoked_us is None else code.made_us
        orders.append(ReportKnown(code.report_id, issued.subject, code.agent_id, code.made_us, until_us))
    if issued.revoked_us is not None and issued.reason is not None:
        orders.append(CodeRevoked(code.hash, issued.revoked_us, issued.reason))
    return orders


def _tell(store: Store, directory: Path, nodes: list[str], orders: list[Order]) -> list[str]:
    """Write the orders to each of the nodes; returns who was told anything."""
    if not orders:
        return []
    key = load_key(directory, "notice", load_public(directory))
    for node_id in nodes:
        for order in orders:
            append(store, node_id, order, key)
    return nodes


def _told(store: Store, node_id: str) -> dict[tuple[str, str], dict[str, object]]:
    """The newest word to a node on each report and each revoked code; where a report was used says nothing of it."""
    newest = dict[tuple[str, str], dict[str, object]]()
    after = 0
    while rows := store.notices(node_id, after):
        after = rows[-1].nseq
        for row in rows:
            if row.kind in (ReportKnown.KIND, CodeRevoked.KIND):
                body = {name: value for name, value in row.body.items() if not name.startswith("used_")}
                newest[row.kind, str(body.get("report") or body.get("code_hash"))] = body
    return newest


def _about(order: Order) -> tuple[str, str]:
    fields = order.fields()
    return order.KIND, str(fields.get("report") or fields.get("code_hash"))
