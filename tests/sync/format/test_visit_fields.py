import pytest

from sync.format.canonical import Fields
from sync.format.visit_fields import Settled, settle, settles

DECIDED = {"visit": "v-1", "person": "p-provisional"}


def test_without_a_correction_the_node_s_own_word_stands() -> None:
    assert settle("visit.unsure", DECIDED, None) == Settled("unsure", "unsure", "p-provisional", corrected=False)
    assert settle("visit.seen", {"visit": "v-1"}, None) == Settled("seen", "seen", None, corrected=False)


@pytest.mark.parametrize(("decision", "person"), [("return", "p-1"), ("first", "p-provisional")])
def test_the_desk_s_answer_stands_over_the_node_s(decision: str, person: str) -> None:
    correction = {"visit": "v-1", "decision": decision, "person": person}
    settled = settle("visit.unsure", DECIDED, correction)
    assert (settled.decision, settled.original, settled.person_id) == (decision, "unsure", person)
    assert settled.corrected


@pytest.mark.parametrize("correction", [{}, {"party_id": "g-2", "reason": "party_split"}, {"reason": "new_source"}])
def test_a_correction_of_something_else_leaves_decision_and_person_alone(correction: Fields) -> None:
    assert not settles(correction)
    settled = settle("visit.unsure", DECIDED, {"visit": "v-1", "account": "a-1", **correction})
    assert settled == Settled("unsure", "unsure", "p-provisional", corrected=False)


@pytest.mark.parametrize(
    "correction", [{"decision": "guided"}, {"decision": "left-without-a-word"}, {"decision": ["first"], "person": 7}]
)
def test_what_a_correction_says_in_words_of_a_later_version_changes_nothing(correction: Fields) -> None:
    settled = settle("visit.unsure", DECIDED, correction)
    assert (settled.decision, settled.person_id, settled.corrected) == ("unsure", "p-provisional", True)


@pytest.mark.parametrize("kind", ["visit.seen", "visit.first", "visit.return"])
def test_no_key_of_the_desk_makes_a_first_visit_of_what_the_node_decided_itself(kind: str) -> None:
    settled = settle(kind, DECIDED, {"visit": "v-1", "decision": "first", "person": "p-2"})
    assert (settled.decision, settled.person_id, settled.corrected) == (settled.original, "p-2", True)
