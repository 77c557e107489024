"""What a Stream user should look like, given what Firebase says."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chatsync.config import Config, Profiles, Users
from chatsync.users import (
    Account,
    FirebaseState,
    drift,
    missing_documents,
    names_user,
    new_stream_user,
    owned_fields,
    profile_update,
)

CREATED = datetime(2024, 5, 1, tzinfo=UTC)
NOW = datetime(2024, 5, 2, tzinfo=UTC)


def account(**fields):
    return Account("ann", CREATED, **fields)


def with_fields(**stream_fields):
    return Config(users=Users(stream_fields=stream_fields))


def profile(displayName=None, photoURL=None, mirrored=None):  # noqa: N803
    return {
        "displayName": displayName,
        "photoURL": photoURL,
        "mirrored": mirrored or {"displayName": None, "photoURL": None},
    }


def test_to_ask_what_a_state_owns_changes_nothing_of_it():
    asked, other = (FirebaseState(account(display_name="Ann")) for _ in range(2))
    owned_fields(asked)
    assert asked == other
    assert owned_fields(replace(asked, account=account(display_name="Anna"))) == {"name": "Anna"}


def test_auth_names_a_user_whose_documents_do_not():
    held = FirebaseState(account(display_name="Ann", photo_url="https://p/a.png"), {}, profile())
    assert owned_fields(held) == {"name": "Ann", "image": "https://p/a.png"}


def test_the_user_document_wins_over_auth():
    held = FirebaseState(account(display_name="Ann"), {"displayName": "Anna"})
    assert owned_fields(held)["name"] == "Anna"


def test_a_profile_that_its_owner_edited_wins_over_the_user_document():
    edited = profile("Annie", None, {"displayName": "Ann", "photoURL": None})
    assert owned_fields(FirebaseState(None, {"displayName": "Ann"}, edited))["name"] == "Annie"


def test_a_profile_nobody_edited_follows_the_user_document():
    untouched = profile("Ann", None, {"displayName": "Ann", "photoURL": None})
    assert owned_fields(FirebaseState(None, {"displayName": "Anna"}, untouched))["name"] == "Anna"


def test_a_picture_that_its_owner_removed_from_the_profile_is_unset():
    removed = profile(None, None, {"displayName": None, "photoURL": "https://p/a.png"})
    held = FirebaseState(account(photo_url="https://p/a.png"), {}, removed)
    assert owned_fields(held) == {"image": None}


@pytest.mark.parametrize("field", ["displayName", "name", "fullName", "full_name"])
def test_a_name_is_understood_in_every_legacy_spelling(field):
    assert owned_fields(FirebaseState(None, {field: "Ann"})) == {"name": "Ann"}


@pytest.mark.parametrize(
    ("document", "stated"),
    [
        ({"firstName": " Ann", "name": {"last": "Lee "}}, {"name": "Ann Lee"}),
        ({"firstName": "Ann", "name": {"last": " "}, "nick": "A"}, {"name": "Ann"}),
        ({"firstName": None, "name": {"last": "Lee"}}, {"name": "Lee"}),
        ({"firstName": " ", "name": {"last": 7}, "nick": "A"}, {"name": "A"}),
        ({"nick": "A"}, {"name": "A"}),
        ({"firstName": None, "name": None, "nick": "A"}, {"name": None}),
        ({"firstName": "", "name": {"last": None}, "nick": "A"}, {"name": None}),
    ],
)
def test_a_name_may_be_several_texts(document, stated):
    config = Config(users=Users(name=("firstName name.last", "nick")))
    assert owned_fields(FirebaseState(None, document), config) == stated


def test_a_profile_of_ours_follows_though_a_name_of_several_fields_begins_with_its_own():
    config = Config(profiles=Profiles(name=("displayName title", "nick")))
    mirrored = {"displayName": "Ann", "photoURL": None}
    profile = {**mirrored, "title": "Dr", "mirrored": mirrored}
    state = FirebaseState(None, {"displayName": "Ann Lee"}, profile)
    assert owned_fields(state, config)["name"] == "Ann Lee"
    assert profile_update(state, config)["displayName"] == "Ann Lee"


@pytest.mark.parametrize(
    "field",
    [
        *("photoURL", "photoUrl", "photo_url", "image", "image_url", "imageUrl"),
        *("avatarUrl", "avatar_url"),
    ],
)
def test_a_picture_is_understood_in_every_legacy_spelling(field):
    assert owned_fields(FirebaseState(None, {field: "https://p"})) == {"image": "https://p"}


@pytest.mark.parametrize("field", ["name", "displayName", "company_name", "companyName"])
def test_a_company_is_named_in_every_legacy_spelling(field):
    assert owned_fields(FirebaseState(company={field: "Acme"})) == {"name": "Acme"}


@pytest.mark.parametrize("field", ["logo_url", "logoURL", "photoURL", "image_url"])
def test_a_companys_picture_is_understood_in_every_legacy_spelling(field):
    assert owned_fields(FirebaseState(company={field: "https://p"})) == {"image": "https://p"}


def test_an_account_that_is_a_company_has_the_name_of_its_company():
    held = FirebaseState(account(display_name="Ann"), {"name": "Ann"}, company={"name": "Acme"})
    assert owned_fields(held) == {"name": "Acme"}
    assert owned_fields(replace(held, kind="user")) == {"name": "Ann"}


def test_names_and_custom_fields_are_found_where_the_app_keeps_them():
    config = Config(
        users=Users(
            name=("profile.nick", "username"),
            image=("profileImageUrl",),
            role="access.role",
            teams="access.gyms",
            stream_fields={"language": "settings.language", "vip": "claims:vip", "level": "level"},
        )
    )
    user = {
        "profile": {"nick": " "},
        "username": "ann",
        "profileImageUrl": "https://p/a.png",
        "settings": {"language": "de", "theme": "dark"},
        "access": {"role": "coach", "gyms": ["gym_1"]},
        "level": 7,
    }
    assert owned_fields(FirebaseState(account(claims={"vip": True}), user), config) == {
        "name": "ann",
        "image": "https://p/a.png",
        "role": "coach",
        "teams": ["gym_1"],
        "language": "de",
        "vip": True,
        "level": 7,
    }
    assert owned_fields(FirebaseState(account(), {"settings": None}), config) == {"language": None}


def test_what_no_side_states_is_not_owned():
    assert owned_fields(FirebaseState(account(), {}, profile(), {})) == {}


def test_an_explicit_null_means_unset():
    assert owned_fields(FirebaseState(account(), {"photoURL": None})) == {"image": None}


def test_a_null_in_the_usual_field_wins_over_a_legacy_field():
    held = FirebaseState(None, {"photoURL": None, "avatarUrl": "https://old"})
    assert owned_fields(held) == {"image": None}


def test_auth_fills_in_for_a_null():
    held = FirebaseState(account(photo_url="https://p/a.png"), {"photoURL": None})
    assert owned_fields(held) == {"image": "https://p/a.png"}


def test_a_blank_name_in_auth_states_nothing():
    assert owned_fields(FirebaseState(account(display_name="  "))) == {}


@pytest.mark.parametrize("field", ["displayName", "full_name", "name"])
def test_a_profile_that_was_there_first_counts_as_its_owners(field):
    own = {field: "Annie"}
    assert owned_fields(FirebaseState(account(display_name="Ann"), {}, own)) == {"name": "Annie"}
    assert owned_fields(FirebaseState(None, {"displayName": "Ann"}, own)) == {"name": "Annie"}


@pytest.mark.parametrize("field", ["full_name", "name"])
def test_the_apps_own_name_in_a_profile_that_was_made_for_it_counts_as_its_owners(field):
    ours = {**profile("Ann", None, {"displayName": "Ann", "photoURL": None}), field: "Annie"}
    held = FirebaseState(account(display_name="Ann"), {}, ours)
    assert owned_fields(held)["name"] == "Annie"
    assert profile_update(held) == {"displayName": "Annie", "mirrored.displayName": "Annie"}


def test_an_edit_of_the_usual_name_wins_over_the_apps_own():
    edited = {**profile("Anna", None, {"displayName": "Ann"}), "full_name": "Annie"}
    assert owned_fields(FirebaseState(None, {}, edited))["name"] == "Anna"


@pytest.mark.parametrize("blank", ["", None, 7])
def test_a_blank_in_a_profile_that_was_there_first_takes_nothing_away(blank):
    held = FirebaseState(None, {"displayName": "Ann"}, {"displayName": blank})
    assert owned_fields(held) == {"name": "Ann"}


@pytest.mark.parametrize("blank", ["", "  ", 7, ["Ann"]])
def test_a_blank_or_senseless_name_states_nothing(blank):
    assert owned_fields(FirebaseState(None, {"displayName": blank})) == {}


def test_role_and_teams_come_from_the_chat_map():
    held = FirebaseState(None, {"chat": {"role": "moderator", "teams": ["gym_1"]}})
    assert owned_fields(held) == {"role": "moderator", "teams": ["gym_1"]}


@pytest.mark.parametrize("chat", ["x", 7, {"role": 7, "teams": 7}, {"role": ""}])
def test_a_senseless_chat_map_states_nothing(chat):
    assert owned_fields(FirebaseState(None, {"chat": chat})) == {}


def test_a_null_chat_map_takes_role_and_teams_away():
    assert owned_fields(FirebaseState(None, {"chat": None})) == {"role": None, "teams": None}


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_name_edited_to_a_blank_is_unset(blank):
    edited = profile(blank, None, {"displayName": "Ann", "photoURL": None})
    assert owned_fields(FirebaseState(None, {"displayName": "Ann"}, edited)) == {"name": None}


def test_a_profile_that_lacks_a_mirrored_field_was_not_edited():
    held = FirebaseState(None, {"displayName": "Anna"}, {"mirrored": {"displayName": "Ann"}})
    assert owned_fields(held) == {"name": "Anna"}


def test_teams_are_texts_and_each_counts_once():
    held = FirebaseState(None, {"chat": {"teams": ["red", 7, "red", None, "blue"]}})
    assert owned_fields(held) == {"teams": ["red", "blue"]}


@pytest.mark.parametrize(("text", "teams"), [("red", ["red"]), (" ", []), ("", [])])
def test_the_one_team_of_a_user_may_be_a_text(text, teams):
    config = Config(users=Users(teams="tenant"))
    assert owned_fields(FirebaseState(None, {"tenant": text}), config) == {"teams": teams}
    config = Config(users=Users(teams="claims:tenant"))
    held = FirebaseState(account(claims={"tenant": text}))
    assert owned_fields(held, config) == {"teams": teams}


def test_an_address_stays_out_of_stream_unless_named_in_the_settings():
    held = FirebaseState(None, {"email": "ann@example.com"})
    assert owned_fields(held) == {}
    assert owned_fields(held, with_fields(email="email")) == {"email": "ann@example.com"}


def test_auth_is_needed_for_a_name_only_where_no_document_has_one():
    assert names_user(FirebaseState(None, {"displayName": "Ann"}))
    assert not names_user(FirebaseState(None, {"photoURL": "https://p"}))


def test_role_and_teams_that_are_unset_fall_back_to_what_a_new_user_gets():
    stream_user = {"id": "ann", "role": "moderator", "teams": ["red"]}
    assert drift(stream_user, {"role": None, "teams": None}, "member") == {
        "id": "ann",
        "set": {"role": "member", "teams": []},
        "unset": [],
    }


def test_an_extra_field_comes_from_auth_where_the_document_has_none():
    held = FirebaseState(account(phone_number="+15550100"), {})
    assert owned_fields(held, with_fields(phoneNumber="phoneNumber")) == {
        "phoneNumber": "+15550100"
    }


def test_a_new_stream_user_gets_defaults_where_firebase_states_nothing():
    assert new_stream_user("ann", {"image": None}, "user") == {
        "id": "ann",
        "name": "User",
        "role": "user",
        "teams": [],
    }


def test_a_new_stream_user_whose_name_is_null_gets_none():
    new = new_stream_user("ann", {"name": None, "role": None, "teams": None}, "member")
    assert new == {"id": "ann", "role": "member", "teams": []}
    assert drift(new, {"name": None, "role": None, "teams": None}, "member") is None


def test_agreement_needs_no_update():
    stream_user = {"id": "ann", "name": "Ann", "teams": ["b", "a"], "hobby": "chess"}
    assert drift(stream_user, {"name": "Ann", "teams": ["a", "b"], "image": None}, "user") is None


def test_only_owned_fields_that_differ_are_patched():
    stream_user = {"id": "ann", "name": "A", "role": "admin", "image": "https://old"}
    assert drift(stream_user, {"name": "Ann", "image": None}, "user") == {
        "id": "ann",
        "set": {"name": "Ann"},
        "unset": ["image"],
    }


def test_an_account_without_documents_gets_all_three():
    held = FirebaseState(account(display_name="Ann", email="ann@example.com"))
    assert missing_documents(held, NOW) == {
        "user": {
            "displayName": "Ann",
            "email": "ann@example.com",
            "createdAt": CREATED,
            "updatedAt": NOW,
        },
        "profile": {
            "displayName": "Ann",
            "photoURL": None,
            "createdAt": CREATED,
            "updatedAt": NOW,
            "mirrored": {"displayName": "Ann", "photoURL": None},
        },
        "stats": {
            "createdAt": CREATED,
            "conversationsStarted": 0,
            "messagesSent": 0,
            "lastActiveAt": None,
            "updatedAt": NOW,
        },
    }


def test_without_a_known_account_no_user_document_is_made_up():
    assert "user" not in missing_documents(FirebaseState(), NOW)


@pytest.mark.parametrize(("created_at", "expected"), [(CREATED, CREATED), ("yesterday", NOW)])
def test_a_profile_is_as_old_as_its_user_document_says(created_at, expected):
    missing = missing_documents(FirebaseState(user={"createdAt": created_at}), NOW)
    assert missing["profile"]["createdAt"] == expected
