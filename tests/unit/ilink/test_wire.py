from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.wechat.ilink.inbound import to_inbound
from adapters.wechat.ilink.media import decrypt, encrypt, from_ref, to_ref
from adapters.wechat.ilink.wire import IMAGE, Media, as_id, image_item, outgoing, read_updates
from adapters.wechat.ilink.wire import text_item as a_text

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    [
        *("seq", "message_id", "from_user_id", "group_id", "create_time_ms", "message_type"),
        *("item_list", "context_token", "type", "text_item", "image_item", "file_item", "media"),
        *("aes_key", "aeskey", "full_url", "encrypt_query_param", "text", "len", "file_name"),
    ]
)
_MESSAGE = st.dictionaries(_FIELDS, _JSON | st.dictionaries(_FIELDS, _JSON), max_size=8)
KEY = bytes(range(16))


@given(st.dictionaries(st.sampled_from(["msgs", "get_updates_buf", "ret"]), _JSON))
def test_whatever_wechat_answers_is_read(answer: dict[str, Any]) -> None:
    updates = read_updates(answer)
    assert updates.cursor is None or updates.cursor


@given(st.lists(_MESSAGE | _JSON, max_size=4))
def test_every_entry_is_a_message_or_counted(entries: list[Any]) -> None:
    updates = read_updates({"msgs": entries})
    assert len(updates.messages) + updates.unreadable == len(entries)
    for message in updates.messages:
        assert message.user_id
        assert message.id
        inbound = to_inbound(message)
        if inbound is not None:
            assert inbound.text or inbound.attachments
            assert isinstance(inbound.message_id, str)


@given(st.integers(1, 2**64 - 1))
def test_ids_of_64_bits_keep_every_digit(number: int) -> None:
    wire = json.loads(json.dumps({"message_id": number, "from_user_id": "alice"}))
    (message,) = read_updates({"msgs": [wire]}).messages
    assert message.id == str(number) == as_id(str(number))


def _photo(image: dict[str, Any]) -> Media | None:
    message = {"from_user_id": "a", "item_list": [{"type": IMAGE, "image_item": image}]}
    (item,) = read_updates({"msgs": [message]}).messages[0].items
    return item.media


def test_keys_come_in_three_forms_and_the_hexadecimal_one_wins() -> None:
    place = {"encrypt_query_param": "p"}
    raw = base64.b64encode(KEY).decode()
    of_digits = base64.b64encode(KEY.hex().encode()).decode()
    other = base64.b64encode(b"x" * 16).decode()
    assert _photo({"media": {**place, "aes_key": raw}}) == Media(KEY, "", "p")
    assert _photo({"media": {**place, "aes_key": of_digits}}) == Media(KEY, "", "p")
    assert _photo({"aeskey": KEY.hex(), "media": {**place, "aes_key": other}}) == Media(
        KEY, "", "p"
    )
    for wrong in ("", "not base64!", base64.b64encode(b"short").decode(), other[:-4]):
        assert _photo({"media": {**place, "aes_key": wrong}}) is None
    assert _photo({"aeskey": KEY.hex(), "media": {}}) is None, "a key without a place"


@given(st.binary(max_size=200), st.binary(min_size=16, max_size=16))
def test_what_is_encrypted_opens_again(data: bytes, key: bytes) -> None:
    cipher = encrypt(data, key)
    assert len(cipher) == (len(data) // 16 + 1) * 16
    assert decrypt(cipher, key) == data


@given(st.binary(min_size=16, max_size=16), st.text(), st.text())
def test_references_survive_being_stored(key: bytes, url: str, param: str) -> None:
    assert from_ref(to_ref(Media(key, url, param))) == Media(key, url, param)


def test_a_known_block_is_encrypted_as_fips_197_says() -> None:
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert encrypt(plain, key)[:16].hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_our_messages_have_the_documented_form() -> None:
    sent = outgoing("alice", a_text("您好"), client_id="c", context_token="t")["msg"]
    assert sent == {
        "from_user_id": "",
        "to_user_id": "alice",
        "client_id": "c",
        "message_type": 2,
        "message_state": 2,
        "item_list": [{"type": 1, "text_item": {"text": "您好"}}],
        "context_token": "t",
    }
    image = image_item("param", KEY, 4912)["image_item"]
    assert base64.b64decode(image["media"]["aes_key"]) == KEY.hex().encode()
    assert image["mid_size"] == 4912
