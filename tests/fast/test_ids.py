"""Keys, and the Stream ids made from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsync.errors import InvalidArgument
from chatsync.ids import IdFormat, Key, check_key

FORMATS = [
    IdFormat(),
    IdFormat("onecrew_user_", "company_"),
    IdFormat("user_", ""),
    IdFormat("a_", "a_b_"),
]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
tricky_texts = st.one_of(
    texts,
    texts.map("company_{}".format),
    texts.map("user_{}".format),
    texts.map("b_{}".format),
    st.text("@0123456789abcdef_", min_size=1),
)
keys = st.builds(Key, st.sampled_from(["user", "company"]), tricky_texts)


def test_an_ordinary_uid_is_its_own_stream_id():
    uid = "kQ2vVb7cTnXc0e5JmPzR8yWsLdA3"
    assert IdFormat().stream_id(Key("user", uid)) == uid


def test_a_prefix_is_put_before_the_key():
    formats = IdFormat(user_prefix="onecrew_user_")
    assert formats.stream_id(Key("user", "ann")) == "onecrew_user_ann"
    assert formats.stream_id(Key("company", "7")) == "company_7"


def test_what_stream_does_not_allow_is_escaped_by_bytes():
    assert IdFormat().stream_id(Key("user", "a.b@ü")) == "a@2eb@40@c3@bc"


def test_a_uid_that_reads_as_a_company_is_told_apart():
    assert IdFormat().stream_id(Key("user", "company_7")) == "@63ompany_7"


@pytest.mark.parametrize("formats", FORMATS)
@given(key=keys)
def test_every_possible_key_comes_back_from_its_stream_id(formats, key):
    assert formats.key(formats.stream_id(key)) == (key if is_possible(key, formats) else None)


def is_possible(key: Key, formats: IdFormat) -> bool:
    try:
        return bool(check_key(key.id, "id", key.kind, formats))
    except InvalidArgument:
        return False


@pytest.mark.parametrize("stream_id", ["a@2fb", "@5f_x__", "u" * 129, "@00"])
def test_an_id_of_an_impossible_key_is_none_of_ours(stream_id):
    assert IdFormat().key(stream_id) is None


@pytest.mark.parametrize("formats", FORMATS)
@given(one=keys, other=keys)
def test_distinct_keys_never_share_a_stream_id(formats, one, other):
    assert (formats.stream_id(one) == formats.stream_id(other)) == (one == other)


@pytest.mark.parametrize("formats", FORMATS)
@given(key=keys)
def test_a_stream_id_has_only_what_stream_allows(formats, key):
    assert all(c.isascii() and (c.isalnum() or c in "_-@") for c in formats.stream_id(key))


@pytest.mark.parametrize("stream_id", ["", "a b", "@zz", "@61nn", "@ff", "company_", "@2E"])
def test_a_foreign_stream_id_is_nobodys(stream_id):
    assert IdFormat().key(stream_id) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is missing"),
        (7, "must be a string"),
        (["ann"], "must be a string"),
        ("", "must not be empty"),
        ("a" * 129, "128 characters"),
        ("a/b", "must not contain '/'"),
        (".", "nor be '.'"),
        ("..", "nor be '.'"),
        ("__x__", "nor be '.'"),
        ("a\nb", "control characters"),
        ("a\x7fb", "control characters"),
        ("a\ud800b", "lone surrogates"),
        ("ü" * 43, "255 characters when escaped"),
    ],
)
def test_an_unusable_key_is_refused_naming_the_field(value, problem):
    with pytest.raises(InvalidArgument, match=problem) as refusal:
        check_key(value, "userId", "user", IdFormat())
    assert refusal.value.field == "userId"


@given(st.one_of(st.text(max_size=200), st.binary(), st.integers(), st.none()))
def test_whatever_passes_the_check_fits_stream(value):
    try:
        key = check_key(value, "userId", "user", IdFormat())
    except InvalidArgument:
        return
    assert 1 <= len(IdFormat().stream_id(key)) <= 255
