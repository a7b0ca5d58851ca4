"""Watches the store, which the ingest writes, and tells open pages what is new."""

import logging
import threading
from pathlib import Path

from sync import SyncError
from sync.central.store.location import open_store
from sync.central.store.rows import NodeRow, VisitRow
from sync.central.store.store import Store
from sync.web.live import Live

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_NEWEST = 50


class StoreWatch:
    """One thread that compares what the pages show with what it was, once somebody has written."""

    def __init__(self, central_dir: Path, live: Live) -> None:
        self._central_dir = central_dir
        self._live = live
        self._nodes: dict[str, NodeRow] | None = None
        self._visits: list[VisitRow] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="store-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _watch(self) -> None:
        lost = False
        while not self._stopping.is_set():
            try:
                with open_store(self._central_dir) as store:
                    if lost:
                        _log.info("store readable again")
                    lost = False
                    version: int | None = None
                    while not self._stopping.is_set():
                        before, version = version, store.data_version()
                        if version != before:
                            self._look(store)
                        self._stopping.wait(_LOOK_S)
            except SyncError as error:
                if not lost:
                    _log.error("store not readable reason=%s", error)
                lost = True
                self._stopping.wait(_LOOK_S)

    def _look(self, store: Store) -> None:
        nodes = {node.node_id: node for node in store.nodes()}
        visits = store.visits(limit=_NEWEST)
        if self._nodes is not None:
            for node_id, node in nodes.items():
                if self._nodes.get(node_id) != node:
                    self._live.publish("node", node_id)
            if visits != self._visits:
                self._live.publish("visit", "")
        self._nodes, self._visits = nodes, visits
