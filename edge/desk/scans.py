"""A scan that failed, on record: the reason, and of the code only a hash."""

from collections.abc import Callable
from contextlib import closing

from edge.desk.codes import CodeRefused
from sync.format.records import Record
from sync.node.ledger import Ledger

KIND = "code.refused"


def record_refusal(
    open_ledger: Callable[[], Ledger],
    refused: CodeRefused,
    visit_id: str,
    after: tuple[int, int],
    request: str,
    account_id: str,
) -> Record:
    """Append `code.refused` under the desk key; the same request and code again get the record of the first time back.

    after: (epoch, seq) of the visit's first record. Raises KeyNotInForce where the desk's key may sign no more.
    """
    with closing(open_ledger()) as ledger, ledger.transaction() as transaction:
        told = ledger.about(request, (KIND,), after, key="request")
        if same := [record for record in told if record.fields.get("code") == refused.code_hash]:
            return same[0]
        fields = {"visit": visit_id, "request": request, "account": account_id}
        return transaction.append(KIND, {**fields, "reason": refused.reason, "code": refused.code_hash})
