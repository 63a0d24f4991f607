"""Ids are remembered exactly, and not in memory."""

from plmdepth.proteins.id_set import IdSetOnDisk


def test_it_is_a_set_of_strings() -> None:
    with IdSetOnDisk() as seen:
        known: set[str] = set()
        for name in ["a", "b", "a", "A", "a ", "é", "1", "01", "", "b"]:
            assert (name in seen) == (name in known)
            seen.add(name)
            known.add(name)
        assert "c" not in seen


def test_two_of_them_share_nothing() -> None:
    with IdSetOnDisk() as one, IdSetOnDisk() as other:
        one.add("a")
        assert "a" in one
        assert "a" not in other
