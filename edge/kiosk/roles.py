"""Who may see what: the roles of the kiosk, by what their pages are for."""

from collections.abc import Mapping

DESK = ("front_desk", "manager")
"""Who serves: arrivals, questions, check-ins."""
MANAGER = ("manager",)
AUDITOR = ("auditor",)
PRIVACY = ("privacy",)
EVIDENCE = (*DESK, *AUDITOR)
"""Who may look into one visit: its face, why it was decided so, its certificate."""
CAMERAS = (*MANAGER, "installer")
"""Who may look through a camera: the one to watch the watching, the other to point it."""
APPROVALS = AUDITOR
"""Who answers what the office asks for."""
ACCESS = (*AUDITOR, *PRIVACY)
"""Who may see who has looked at whom."""
EVERYBODY = (*EVIDENCE, *PRIVACY, "installer")
"""Pages that tell of nobody: the device and its health."""

HOMES: Mapping[str, str] = {"auditor": "/approvals", "privacy": "/rights", "installer": "/node"}
"""Where somebody begins whom the front page is not for."""
HEAD_OFFICE = "head_office"
FROM_OUTSIDE = ("auditor", "privacy")
"""Who belongs to the head office unless said otherwise; everybody else to the site."""
IDLE_S = 900.0
"""How long a page may lie there before it asks for a PIN again: on a counter anybody can reach it."""
