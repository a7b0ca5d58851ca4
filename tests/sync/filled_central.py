"""A central's store that holds the filled HOME's chain and that of a second node without records."""

import shutil
from pathlib import Path

from sync.central.log import enrolled
from sync.central.store.batch import Batch
from sync.central.store.location import create_store, open_store
from sync.format.messages import Notice
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import ROLE_OF_KIND
from sync.storage.settings import settings_text
from tests.sync.conftest import BuiltHome, key


def central_of(filled_home: BuiltHome, path: Path, store_url: str | None = None) -> Path:
    """Make it in a new folder; store_url: where PostgreSQL is to hold it."""
    path.mkdir()
    shutil.copy(filled_home.central_pub, path / "central.pub")
    (path / "central.toml").write_text(settings_text("hq", "mqtt://127.0.0.1:1883", store_url))
    create_store(path, store_url)
    keys = CentralKeys.parse_text(filled_home.central_pub.read_text())
    second = Enrolment("gate-2", "s1", key("stranger").public, key("root").public)
    with open_store(path) as store:
        for enrolment, text in (
            (Enrolment.parse_text(filled_home.node_pub.read_text()), filled_home.node_pub.read_text()),
            (second, second.text(key("stranger"))),
        ):
            first = Notice.seal(enrolment.node_id, 1, bytes(32), "keys", keys.fields(), key("root"))
            store.enrol(enrolment, text, first, enrolled("hq", enrolment, 1, key("notice")), 1)
        batch = Batch()
        ledger = filled_home.ledger()
        for record in ledger.records(ROLE_OF_KIND):
            batch.keep(record, 5)
        ledger.close()
        store.write(batch)
    return path
