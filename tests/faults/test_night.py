"""The node's night, in the node: that somebody asks for it while visitors come."""

from pathlib import Path

from tests.faults.site import reading, site, wait_until


def test_a_running_node_makes_up_a_missed_night_beside_its_work(tmp_path: Path) -> None:
    with site(tmp_path) as tested:
        node = tested.node
        tested.start_node(node, launcher=("--night-soon",))

        def checked() -> list[tuple[int, int]]:
            with reading(node.home.database) as connection:
                return connection.execute("SELECT ok, checked FROM checks").fetchall()

        wait_until(lambda: bool(checked()), "the night's finding is kept")
        ((ok, records),) = checked()
        assert ok
        assert records > node.baseline[1]
        shown = len(node.account.shown)
        wait_until(lambda: len(node.account.shown) > shown, "it goes on recording")
