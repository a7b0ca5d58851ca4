"""How many people's faces are stored, against the number from which the operator must file with the authorities.

人脸识别技术应用安全管理办法 (2025), article 15: whoever stores the face information of 100,000 people files with the
cyberspace authority of the province within 30 working days.
"""

import sqlite3

from sync.node.alarms import Alarms

SOON, DUTY = 80_000, 100_000
ALARMS = ("FACES_80000", "FACES_100000")


def faces_stored(connection: sqlite3.Connection) -> int:
    """People of whom a template or a picture is stored, staff and agents among them."""
    ((count,),) = connection.execute(
        "SELECT count(*) FROM (SELECT person_id FROM templates UNION SELECT person_id FROM crops)"
    ).fetchall()
    return int(count)


def watch(alarms: Alarms, stored: int, now_us: int) -> None:
    """Raise the alarm of a number that is reached, once, and drop it when it is so no more."""
    standing = {alarm.code for alarm in alarms.all()}
    for code, number in zip(ALARMS, (SOON, DUTY), strict=True):
        if stored >= number and code not in standing:
            due = "a filing is due within 30 working days" if number == DUTY else f"from {DUTY} on a filing is due"
            alarms.raise_alarm(code, f"{stored} people's faces are stored: {due}", now_us)
        elif stored < number and code in standing:
            alarms.forget(code)
