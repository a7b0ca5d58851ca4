"""What waits for its turn: the order is kept, and a commit holds as much as is worth one."""

from sync.central.inbox import Parcel
from sync.central.ingest import Greeting
from sync.central.readers import Reading, Task
from sync.central.turns import FULL_BYTES, TURN_BYTES, Turns
from sync.format.messages import Status


def frames(count: int, size: int, task: Task | None = None) -> list[Reading]:
    return [Reading("n1", bytes(size), task=task) for _ in range(count)]


def filled(*waiting: Reading | Greeting) -> Turns:
    turns = Turns()
    for one in waiting:
        turns.add(one)
    return turns


def test_what_is_read_is_taken_in_order_and_cut_where_a_commit_is_worth_its_cost() -> None:
    waiting = frames(7, 200 * 1024)
    turns = filled(*waiting)
    taken = [turns.next().frames for _ in range(3)]
    assert [len(some) for some in taken] == [3, 3, 1]
    assert [frame for some in taken for frame in some] == waiting
    assert not turns
    assert turns.next().frames == []
    assert len(filled(*frames(256, 100)).next().frames) == 256


def test_half_of_what_is_still_being_read_is_left_to_be_read_meanwhile() -> None:
    reading = Task([], 0)
    waiting = frames(8, 1000, reading)
    turns = filled(*waiting)
    assert turns.next().frames == waiting[:4]
    reading.done = True
    assert turns.next().frames == waiting[4:]
    (alone,) = frames(1, 1000, Task([], 0))
    assert filled(alone).next().frames == [alone], "somebody must wait for it"


def test_a_greeting_is_taken_with_what_came_before_it() -> None:
    hello = Greeting(Status("n1", True, 1, 7, 2))
    before, after = frames(1, TURN_BYTES), frames(1, 10)
    turns = filled(*before, hello, *after)
    assert turns.next().greetings == []
    turn = turns.next()
    assert (turn.frames, turn.greetings) == (after, [hello])


def test_a_parcel_goes_with_its_frame_and_is_handed_back_where_everything_is_given_up() -> None:
    turns, parcels = Turns(), [Parcel("n1", bytes(TURN_BYTES), None, None) for _ in range(3)]
    for parcel in parcels:
        turns.add(Reading("n1", bytes(TURN_BYTES)), parcel)
    assert turns.full
    assert turns.next().parcels == parcels[:1]
    assert turns.clear() == parcels[1:]
    assert not turns
    assert not turns.full
    assert FULL_BYTES > TURN_BYTES, "something is read while a turn is kept"
