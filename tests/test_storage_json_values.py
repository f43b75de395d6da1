"""Properties of values written as JSON, for arbitrary values."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.storage.json_values import check_sendable, finite

TEXTS = st.text(st.characters(), max_size=8)  # including unpaired surrogates
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_can_be_serialised_once_it_is_finite(value):
    clean = finite(value)
    check_sendable(clean)
    assert json.loads(json.dumps(clean, allow_nan=False)) == clean
    assert finite(clean) == clean


@given(st.floats() | st.text(st.characters(codec="utf-8")))
def test_only_values_unknown_to_json_are_changed(value):
    lacking = isinstance(value, float) and not math.isfinite(value)
    assert finite([value]) == ([None] if lacking else [value])
    if lacking:
        with pytest.raises(ValueError, match="JSON"):
            check_sendable({"a": value})


@given(st.characters(categories=["Cs"]), st.text(max_size=3))
def test_unpaired_surrogate_becomes_a_question_mark(half, text):
    assert finite({half: text + half}) == {"?": text + "?"}
    with pytest.raises(ValueError, match="surrogates"):
        check_sendable([half])
