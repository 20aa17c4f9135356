"""What is found in a text, what is left alone, and how it is replaced."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.config import build
from prentice.errors import ConfigError
from prentice.privacy import KINDS, PrivacyConfig, Redactor
from yours_privacy import banking, conversations, missed
from yours_privacy_items import items

REDACTOR = Redactor(PrivacyConfig(mode="redact"))
FRAGMENTS = st.sampled_from(
    [
        *(item.text for item in items(random.Random(7), 120)),
        *("phone", "order", "my account number is", "password:", "token", "Tel", "SSN", "x", "12", "0", "2024-05-15"),
        *("[EMAIL_1]", "[PHONE_2]", "[KEY_3]", "#", "@", ".", "-", "+", "(", ")", "/", '"', "\\n", "\n"),
        *("{", "}", "[", "]", ",", ":", "://"),
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=6), max_size=8).flatmap(
    lambda parts: st.sampled_from(["", " "]).map(lambda gap: gap.join(parts))
)
JSON = st.recursive(
    TEXTS
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.none()
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("phone"), inner, max_size=3),
    max_leaves=8,
)


def found(text: str, redactor: Redactor = REDACTOR) -> list[tuple[str, str]]:
    """Kinds and texts."""
    return [(each.kind, text[each.start : each.end]) for each in redactor.find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("write to Anna.O'Neill+shop@mail.example.co.uk.", "email", "Anna.O'Neill+shop@mail.example.co.uk"),
        ("<mailto:li@example.org>", "email", "li@example.org"),
        ("li (at) example [dot] org", "email", "li (at) example [dot] org"),
        (r"in a\nli@example.org", "email", "li@example.org"),
        ("请写信给li@example.org谢谢", "email", "li@example.org"),
        ("Call (415) 555-2671 ext. 12 today", "phone", "(415) 555-2671 ext. 12"),
        ("my mobile: 6085551234", "phone", "6085551234"),
        ("6085551234", "phone", "6085551234"),
        ("from +49 (0)30 1234567 it is", "phone", "+49 (0)30 1234567"),
        ("on 2024-05-15 06 12 34 56 78 rang", "phone", "06 12 34 56 78"),
        ("555-0132 is my number, call 555-0132", "phone", "555-0132"),
        ("0044 20 7946 0958", "phone", "0044 20 7946 0958"),
        ("4111 1111 1111 1111 12/26", "card", "4111 1111 1111 1111"),
        ("3782-822463-10005", "card", "3782-822463-10005"),
        ("my order, card 4111111111111111", "card", "4111111111111111"),
        ("DE89 3704 0044 0532 0130 00 THANKS", "account", "DE89 3704 0044 0532 0130 00"),
        ("gb29nwbk60161331926819", "account", "gb29nwbk60161331926819"),
        ("my account no. is 12345678", "account", "12345678"),
        ("sort code: 12-34-56", "account", "12-34-56"),
        ("I log in from 203.0.113.7.", "ip", "203.0.113.7"),
        ("2001:db8::8a2e:370:7334", "ip", "2001:db8::8a2e:370:7334"),
        ("SSN 536-90-4399", "id", "536-90-4399"),
        ("my passport number is X1234567", "id", "X1234567"),
        ("RSSMRA85M01H501Q", "id", "RSSMRA85M01H501Q"),
        ("or 536-90-4399 it is", "id", "536-90-4399"),
        ("AB 12 34 56 C", "id", "AB 12 34 56 C"),
        ("postgres://app:hunter22@db.example.com/x", "key", "hunter22"),
        ("my password is Reset2024!", "key", "Reset2024"),
        ("Authorization: Bearer abcDEF1234567890abcDEF", "key", "abcDEF1234567890abcDEF"),
        ("AccountKey=imL6OIHzIm0os09E6t89/TODO0BD0+lnwnA==", "key", "imL6OIHzIm0os09E6t89/TODO0BD0+lnwnA=="),
    ],
)
def test_personal_data_is_found_from_its_first_to_its_last_character(text: str, kind: str, value: str) -> None:
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "order #W2378156, please",
        "exchange item 6085551234 of order 4155552671",
        "flight HAT083 on 2024-05-15 at 06:00, or 15/05/2024 at 15:30",
        "reservation 4WQ150 of mia_li_3668 with credit_card_7815826 and gift_card_7480005",
        "$1,628.50, not 1500-1200 or (500 - 350) 120",
        "they won 6-7 (5-7) 7-6 (8-6) 6-2, and 21 19 0 2 884 441 38",
        "25.75 25.0 27.0 20.0 123.456",
        "see 552.238-70 and section 6.1.2.1, version 10.20.30.40",
        "id 550e8400-e29b-41d4-a716-446655440000",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "call_dhYivf6VRUVJfU9DItC2EQ95 gave toolu_01A09q90qw90lq917835lq9",
        "I forgot my password is there a way? My password is wrong. The token is missing",
        "4111 1111 1111 1112 has a wrong last digit",
        "DE88 3704 0044 0532 0130 00",
        "the account number is right, I've checked it 3 times",
        "at 1716239022123, lat 52.5200066, lon 13.4049540",
        "127.0.0.1 and ::1",
        "ISBN 978-3-16-148410-0, tracking 1Z999AA10123456784",
    ],
)
def test_what_only_looks_like_personal_data_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_made_item_is_found_after_the_words_that_name_it(kind: str) -> None:
    made = [item for item in items(random.Random(11), 900) if item.kind == kind]
    left = [item.text for item in made if item.value in REDACTOR.text(f"Hello, {item.lead}{item.text}, thank you")]
    assert len(made) > 20
    assert left == []


def test_planted_items_are_found_in_real_conversations(data: Path) -> None:
    chats = conversations(data / "llm_logs_openai.jsonl")[60:]
    planted = list(missed(chats, seed=5, planted=400))
    assert sum(not left for _, left in planted) >= 0.95 * len(planted)


def test_clean_messages_of_bank_customers_are_left_alone(data: Path) -> None:
    clean = banking(data / "banking77.csv")
    assert sum(bool(REDACTOR.find(text)) for text in clean) <= 0.002 * len(clean)


def test_one_value_has_one_placeholder_in_all_its_spellings() -> None:
    text = "Li@Example.org, li@example.org; +1 415 555 2671 or (415) 555-2671; zoe@example.org"
    assert REDACTOR.text(text) == "[EMAIL_1], [EMAIL_1]; [PHONE_1] or [PHONE_1]; [EMAIL_2]"


def test_a_number_that_a_text_holds_already_is_not_given_again() -> None:
    assert REDACTOR.text("[EMAIL_3] knows li@example.org") == "[EMAIL_3] knows [EMAIL_4]"


def test_json_in_a_text_stays_json_with_its_keys_spacing_and_other_values() -> None:
    text = (
        '{"to":  "li\\u0040example.org", "n": {"card": 4111111111111111, "t": "\\nzoe@example.org"}, "li@x.org": 1.50}'
    )
    assert (
        REDACTOR.text(text) == '{"to":  "[EMAIL_1]", "n": {"card": "[CARD_1]", "t": "\\n[EMAIL_2]"}, "li@x.org": 1.50}'
    )


def test_a_key_says_what_its_value_is() -> None:
    number = "6085551234"
    text = json.dumps(
        {"phoneNumber": number, "item_ids": [number], "password": "correct-horse", "total_tokens": 1234567}
    )
    assert json.loads(REDACTOR.text(text)) == {
        "phoneNumber": "[PHONE_1]", "item_ids": [number], "password": "[KEY_1]", "total_tokens": 1234567
    }  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_finds_lie_in_the_text_in_order_and_never_overlap(text: str) -> None:
    finds = REDACTOR.find(text)
    assert all(0 <= each.start < each.end <= len(text) and each.kind in KINDS for each in finds)
    assert all(before.end <= after.start for before, after in pairwise(finds))


@settings(max_examples=200, deadline=None)
@given(TEXTS | JSON.map(json.dumps))
def test_redacting_a_redacted_text_changes_nothing(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once
    assert (once == text) == (REDACTOR.text(text) is text)


def shape(value: object) -> object:
    """Keys and lengths, and every value that cannot have been replaced."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "a text or a number" if isinstance(value, str | int | float) and not isinstance(value, bool) else value


@settings(max_examples=200, deadline=None)
@given(st.lists(JSON, max_size=2) | TEXTS)
def test_valid_json_stays_valid_json_of_the_same_shape(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert shape(json.loads(REDACTOR.text(text))) == shape(json.loads(text))


def test_allowed_texts_are_never_touched_however_they_are_spelt() -> None:
    redactor = Redactor(PrivacyConfig(mode="redact", allow=("Help@Shop.example.com", "+1 800 555 0199")))
    text = "help@shop.example.com, 1-800-555-0199, li@shop.example.com"
    assert redactor.text(text) == "help@shop.example.com, 1-800-555-0199, [EMAIL_1]"


def test_only_the_kinds_that_were_asked_for_are_found() -> None:
    redactor = Redactor(PrivacyConfig(mode="redact", kinds=("card",)))
    assert redactor.text("li@example.org 4111111111111111") == "li@example.org [CARD_1]"


def test_phone_numbers_of_a_country_are_known_once_it_is_named() -> None:
    danish = Redactor(PrivacyConfig(mode="redact", regions=("DK",)))
    assert found("so 32 12 34 56 it is") == []
    assert found("so 032 12 34 56 it is", danish) == []
    assert found("so 415-555-2671 it is", danish) == []
    assert found("so +45 32 12 34 56 it is", danish) == [("phone", "+45 32 12 34 56")]


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"mode": "hide"}, 'mode = "hide"'),
        ({"kinds": ["name"]}, 'kinds.0 = "name"'),
        ({"kinds": []}, "kinds = []"),
        ({"regions": ["us"]}, 'regions.0 = "us"'),
        ({"allow": [""]}, 'allow.0 = ""'),
        ({"modus": "redact"}, "did you mean 'mode'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings_: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        build(PrivacyConfig, settings_, "prentice.toml")


def test_a_region_without_phone_numbers_is_named() -> None:
    with pytest.raises(ConfigError, match="'XX'"):
        Redactor(PrivacyConfig(mode="report", regions=("US", "XX")))


def run_alone(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_missing_library_is_answered_with_its_install_line_and_off_needs_none() -> None:
    code = """
import sys
sys.modules["phonenumbers"] = None
from prentice.errors import MissingExtraError
from prentice.privacy import PrivacyConfig, Redactor
Redactor(PrivacyConfig())
try:
    Redactor(PrivacyConfig(mode="report"))
except MissingExtraError as error:
    print(error)
"""
    assert run_alone(code).endswith('(pip install "prentice[privacy]")')


def test_nothing_loads_before_it_is_used_and_no_socket_is_opened() -> None:
    code = """
import sys
from prentice.privacy import PrivacyConfig, Redactor
Redactor(PrivacyConfig())
print([name for name in ("phonenumbers", "stdnum", "kingfisher_sdk") if name in sys.modules])
sys.addaudithook(lambda event, _: event.startswith("socket.") and sys.exit(event))
print(Redactor(PrivacyConfig(mode="redact")).text("a@b.org +4915129265841 ghp_0123456789abcdefghijABCDEFGHIJ012345"))
"""
    assert run_alone(code).splitlines() == ["[]", "[EMAIL_1] [PHONE_1] [KEY_1]"]
