"""Forgetting what is due by the time that surely is: a clock set forward erases nobody, and keeps nobody longer."""

import logging

from edge.consent import CapturePolicy
from edge.people.vault import Vault
from edge.rights.retention import expire
from edge.sure_time import SureTime
from sync.format.stamp import from_us, rfc3339
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)
ALARM = "CLOCK_AHEAD"
AFTER_US = 24 * 3600 * 1_000_000  # stored later than now by more: under a wrong clock; a film runs ahead by less


class Retention:
    """What the running node forgets each minute. It is the calling thread's."""

    def __init__(self, ledger: Ledger, vault: Vault, alarms: Alarms, sure: SureTime) -> None:
        """ledger: under the node key."""
        self._ledger, self._vault, self._alarms, self._sure = ledger, vault, alarms, sure
        self._waits = False

    def run(self, policy: CapturePolicy) -> int:
        """Forget what the policy no longer lets the node keep; returns how many people.

        While the wall clock is ahead of what surely is past, that is an alarm. What was stored under a clock that ran
        ahead counts as stored now, once the clock is right: it would be kept until then otherwise.
        """
        now = self._sure.now(self._ledger)
        now_us = now.sure_us
        if now.ahead:
            if not self._waits:
                told = f"the clock says {rfc3339(now.wall_us)}, known is {rfc3339(now_us)}: what is due later waits"
                log.warning("clock ahead: %s", told)
                self._alarms.raise_alarm(ALARM, told, now.wall_us)
            self._waits = True
        else:
            if self._waits:
                self._alarms.forget(ALARM)
            self._waits = False
            if self._vault.outlived.stored_after(now_us + AFTER_US):
                with self._ledger.transaction() as transaction:
                    self._vault.outlived.date_back(transaction.connection, now_us + AFTER_US, now_us)
        return expire(self._ledger, self._vault, policy, from_us(now_us))
