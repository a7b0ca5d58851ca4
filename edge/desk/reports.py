"""Reports that central has told of: whose customer somebody is, found by the phone they give, without any code."""

from contextlib import closing
from pathlib import Path

from edge.desk.desk_secrets import kept_secret
from edge.home import Home
from edge.people.person_keys import KEYS_FORMAT
from edge.people.phones import Phone
from sync.format.codes import subject_of
from sync.format.notices import ReportKnown
from sync.node.trust import Trust
from sync.storage.database import named, open_checked


def keep_subject_key(keys_database: Path, key: bytes) -> None:
    """Take over the key by which central names customers, 32 bytes; a later one takes its place."""
    with named(keys_database), closing(open_checked(keys_database, KEYS_FORMAT)) as connection, connection:
        connection.execute(
            "INSERT INTO desk_secrets (purpose, secret) VALUES ('subject', ?)"
            " ON CONFLICT (purpose) DO UPDATE SET secret = excluded.secret",
            (key,),
        )


def reports_of(home: Home, phone: Phone, now_us: int) -> list[ReportKnown]:
    """The reports that protect an agent now for whoever has these digits, the earliest first.

    Empty where this desk has not been given central's key: then it finds a report by its code alone.
    """
    key = kept_secret(home.keys_database, "subject")
    if key is None or not home.joined or len(phone.reported) != 7:
        return []
    return Trust(home.path).known_reports(subject_of(key, phone.reported), now_us)
