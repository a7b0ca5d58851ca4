"""What visitors have sent from their own phones, as the desk's pages show it until it is bound to an arrival."""

import re
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from edge.clock import wall_us
from edge.desk.consents import Consent
from edge.desk.fitting import fitting
from edge.desk.parties import ShownParty
from edge.desk.shown import ShownVisit
from edge.desk.visitor_forms import FormState, SentForm, VisitorForms
from edge.kiosk.consent import ConsentDesk
from edge.kiosk.forms import once
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.contacts import given_by
from edge.people.vault import opened
from edge.place.geofence import claimed_place, load_fence
from sync.format.canonical import Fields

NEWEST = 12  # as many as a tablet shows at a glance; the others are found by the last digits of their phone
_LAST_DIGITS = re.compile("[0-9]{4}")


class PhoneForms:
    """The forms of one desk."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._forms = VisitorForms(shell.home.database, shell.home.keys_database)

    def listed(self, digits: str = "") -> dict[str, Any]:
        """What visitor_forms.html is given: the newest that the desk has not bound yet, newest first.

        digits: the last four of a phone; then every form of such a phone. Anything else is as if not given.
        """
        waiting, sought = self._waiting(), digits if _LAST_DIGITS.fullmatch(digits) else ""
        shown = [form for form in waiting if form.phone.e164.endswith(sought)] if sought else waiting[:NEWEST]
        return {"sent": shown, "sent_n": len(waiting), "more_sent": len(waiting) > NEWEST, "digits": sought}

    def choosing(self, form_id: str, request_id: str, parties: Iterable[ShownParty]) -> dict[str, Any]:
        """What the front page is given while its host looks for the arrival of a form: who fits it best.

        form_id: empty where nobody is being looked for. request_id: as the page has it already, so that a part that
        renews itself changes nothing under a finger; any other text gets a new one.
        """
        chosen = self.find(form_id) if form_id else None
        return {
            "chosen": chosen,
            "gone": bool(form_id) and chosen is None,
            "fit": None if chosen is None else fitting(chosen.received_us, parties),
            "request_id": request_id if once(request_id) else new_request(),
        }

    def find(self, form_id: str) -> SentForm | None:
        """A form that waits."""
        return next((form for form in self._waiting() if form.form_id == form_id), None)

    def state(self, form_id: str) -> FormState | None:
        """What became of a form."""
        return self._forms.state(form_id, wall_us())

    def sweep(self) -> None:
        """Forget what is bound or has run out."""
        self._forms.sweep(wall_us())

    def consent(self, visit: ShownVisit, form: SentForm) -> Consent | None:
        """What a form agrees to, None where this arrival's pictures are gone or that text is in force no more.

        That the phone is in this visitor's hand is known where the same face has given the same number before; else it
        is the word of whoever binds the two.
        """
        offered = ConsentDesk(self._shell).offered(visit, form.language)
        agreed = next((text for text in offered if text.version == form.consent), None)
        if agreed is None:
            return None
        home, known = self._shell.home, False
        if visit.person_id is not None:
            with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                known = given_by(ledger.connection, vault, form.phone, visit.person_id)
        return Consent(agreed, confirmed="phone" if known else "desk")

    def place(self, form: SentForm) -> Fields:
        """The place that a form claims, `unknown` where its page may not ask or the visitor did not say."""
        if form.position is None:
            return {"source": "unknown"}
        settings, position = self._shell.home.settings().place, form.position
        fence = load_fence(self._shell.home.path / settings.fence, settings.datum) if settings.fence else None
        return claimed_place(position.lat, position.lon, position.accuracy_m, fence)

    def _waiting(self) -> list[SentForm]:
        return self._forms.waiting(wall_us())
