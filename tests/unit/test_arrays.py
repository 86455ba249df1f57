"""Rows as arrays: what is equal is given once, and no statement takes too much."""

from cl_server_shared.jobs.sql.arrays import in_arrays, portions


def test_only_what_differs_becomes_an_array() -> None:
    rows = [{"id": 1, "kind": "a", "note": None}, {"id": 2, "kind": "a", "note": 'say "\\"'}]

    own, values = in_arrays(rows, ())

    assert own == ("id", "note")
    assert values == {"id": "{1,2}", "kind": "a", "note": '{NULL,"say \\"\\\\\\""}'}


def test_what_must_be_an_array_is_one_even_of_a_single_row() -> None:
    assert in_arrays([{"id": 1, "kind": "a"}], ("id",)) == (("id",), {"id": "{1}", "kind": "a"})


def test_many_rows_are_divided_in_their_order() -> None:
    rows = [{"id": number} for number in range(2_500)]

    divided = list(portions(rows))

    assert [len(some) for some in divided] == [1_000, 1_000, 500]
    assert [row for some in divided for row in some] == rows
    assert list(portions([])) == []


def test_large_rows_are_divided_by_their_size() -> None:
    large = "x" * (1 << 23)
    rows = [{"params": large}, {"output": large}, {"params": large}, {"params": large * 3}]

    assert [len(some) for some in portions(rows)] == [2, 1, 1]
