"""`hostkit._values.text`: what users give, in words and as JSON, whatever it is."""

import json
import math
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostkit._values.text import DEEPEST, LARGEST_INT, LONGEST_TEXT, MOST_ITEMS, to_json_ready


class Hostile(Mapping[str, object]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        yield "a"

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        message = "no repr"
        raise OSError(message)


@pytest.mark.parametrize("value", [None, True, 0, -1, 1.5, "text", [], {}, ["a", 1], {"a": {"b": [1]}}])
def test_what_json_has_stays_as_it_is(value: object) -> None:
    """Values that JSON has are not changed."""
    assert to_json_ready(value) == value


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        (("a", 1), ["a", 1]),
        ({1: 2, (1, 2): 3}, {"1": 2, "(1, 2)": 3}),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (b"bytes", "b'bytes'"),
        pytest.param(2**LARGEST_INT, str(2**LARGEST_INT), id="large"),
        pytest.param(10**5000, "<int, whose repr() failed>", id="largest"),
        (Hostile(), "<Hostile, which cannot be read: KeyError: 'a'>"),
        ([[[[[1]]]]], [[[["[1]"]]]]),
    ],
)
def test_what_json_does_not_have_becomes_text(value: object, ready: object) -> None:
    """Everything else becomes its repr, or says that it has none."""
    assert to_json_ready(value) == ready


def test_what_refers_to_itself_ends() -> None:
    """Nesting is cut where it is too deep, also where it has no end."""
    circle: list[object] = []
    circle.append(circle)

    assert json.dumps(to_json_ready(circle)).count("[") == DEEPEST + 2


def test_much_is_cut() -> None:
    """A long text, sequence or mapping is cut, and says how much more there was."""
    long = to_json_ready({"text": "x" * (LONGEST_TEXT + 5), "items": list(range(MOST_ITEMS + 3))})
    wide = to_json_ready({str(number): number for number in range(MOST_ITEMS + 7)})

    assert isinstance(long, dict)
    assert long["text"] == "x" * LONGEST_TEXT + "… 5 more"
    assert long["items"] == [*range(MOST_ITEMS), "… 3 more"]
    assert isinstance(wide, dict)
    assert len(wide) == MOST_ITEMS + 1
    assert wide["…"] == "7 more"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.binary() | st.builds(Hostile),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    )
)
def test_anything_can_be_written(value: object) -> None:
    """Whatever the value is, the result can be written as strict JSON."""
    json.dumps(to_json_ready(value), allow_nan=False)
