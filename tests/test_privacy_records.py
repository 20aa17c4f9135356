"""Redaction of whole records: episodes, recorded calls and feedback, on their way into a store."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prentice.privacy import PrivacyConfig, Redactor
from prentice.records import (
    Episode,
    Failure,
    Message,
    Metric,
    Reply,
    Request,
    TokenLogprob,
    Tool,
    ToolCall,
    Turn,
)
from prentice.records.calls import Call
from prentice.records.episodes import Demonstration
from prentice.records.feedback import Feedback
from prentice.records.guard import Guard
from prentice.records.store import Store
from records_examples import example
from test_privacy import JSON, TEXTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MAIL, PHONE, CARD = "li.wei@example.org", "+1 415 555 2671", "4111111111111111"


def redacting() -> Redactor:
    return Redactor(PrivacyConfig(mode="redact"))


def turn(*said: Message, reply: str | Message = "done", **fields: Any) -> Turn:
    message = Message(role="assistant", content=reply) if isinstance(reply, str) else reply
    return Turn(request=Request(function="agent", messages=said, **fields), reply=Reply(message=message, model="m"))


def user(text: str) -> Message:
    return Message(role="user", content=text)


def full() -> Episode:
    """An episode that holds personal data in every place that holds what was said."""
    ask = Message(
        role="assistant", tool_calls=(ToolCall(id="call_1", name="find", arguments=json.dumps({"email": MAIL})),)
    )
    answer = Message(role="tool", content=json.dumps({"phone": PHONE, "card": int(CARD)}), tool_call_id="call_1")
    first = turn(user(f"I am {MAIL}"), reply=ask, inputs={"text": f"I am {MAIL}", "seen": [PHONE]})
    second = turn(*first.request.messages, ask, answer, reply=f"You are {MAIL}")
    second = second.model_copy(update={"extra": {"raw": {"to": MAIL}}})
    shown = Demonstration(turn=1, message=Message(role="assistant", content=f"Write to {MAIL}"), at=NOW)
    return example(
        turns=(first, second),
        metrics=(Metric(name="comment", value=f"called {PHONE}", source="person"), Metric(name="success", value=True)),
        failure=Failure(where="model", message=f"no user {MAIL}"),
        tags={"user": MAIL},
        demonstrations=(shown,),
        extra={"session": {"card": CARD}},
    )


def test_a_value_has_the_same_placeholder_wherever_an_episode_holds_it() -> None:
    redacted = redacting().episode(full())
    first, second = redacted.turns
    assert json.loads(first.reply.message.tool_calls[0].arguments) == {"email": "[EMAIL_1]"}
    assert json.loads(second.request.messages[2].content) == {"phone": "[PHONE_1]", "card": "[CARD_1]"}
    assert first.request.inputs == {"text": "I am [EMAIL_1]", "seen": ["[PHONE_1]"]}
    assert (second.reply.text, second.extra) == ("You are [EMAIL_1]", {"raw": {"to": "[EMAIL_1]"}})
    assert redacted.metric("comment") == "called [PHONE_1]"
    assert redacted.failure == Failure(where="model", message="no user [EMAIL_1]")
    assert (redacted.tags, redacted.extra) == ({"user": "[EMAIL_1]"}, {"session": {"card": "[CARD_1]"}})
    assert redacted.demonstrations[0].message.content == "Write to [EMAIL_1]"


def test_ids_names_and_metrics_stay_and_a_history_stays_one_history() -> None:
    before, after = full(), redacting().episode(full())
    assert (after.id, after.case, after.run, after.metric("success")) == (before.id, before.case, before.run, True)
    assert after.turns[0].reply.message.tool_calls[0].id == after.turns[1].request.messages[2].tool_call_id == "call_1"
    assert after.turns[1].request.messages[:1] == after.turns[0].request.messages
    assert after.turns[1].request.messages[1] == after.turns[0].reply.message


def test_nothing_personal_reaches_a_store_that_was_opened_with_the_guard(tmp_path: Path) -> None:
    guard: Guard = redacting()
    with Store.open(tmp_path / "store.db", guard=guard) as store:
        store.add([full()])
        said = Feedback(id="f", episode=full().id, name="comment", value=f"ask {MAIL}", at=NOW)
        assert store.add_feedback([said]).new == 1
        assert [each.metric("comment") for each in store.episodes()] != []
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [value for value in (MAIL, PHONE, CARD, "555 2671") if value.encode() in stored] == []


def test_an_episode_without_personal_data_is_the_same_object() -> None:
    episode = example()
    assert redacting().episode(episode) is episode


episodes = st.builds(
    lambda texts, inputs, arguments: example(
        turns=(
            turn(user(texts[0]), reply=texts[1], inputs={"it": inputs}),
            turn(user(texts[0]), user(texts[2]), reply=Message(role="assistant", tool_calls=(ToolCall(
                id="1", name="f", arguments=json.dumps(arguments)),))),
        ),
        extra={"it": inputs},
        metrics=(Metric(name="comment", value=texts[2]),),
    ),
    st.lists(TEXTS, min_size=3, max_size=3),
    JSON,
    st.dictionaries(st.sampled_from(["phone", "id", "note"]), JSON),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(episodes)
def test_redacting_a_redacted_episode_changes_nothing(episode: Episode) -> None:
    once = redacting().episode(episode)
    assert redacting().episode(once) is once
    assert json.loads(once.turns[1].reply.message.tool_calls[0].arguments) is not None


def test_a_reply_that_is_a_choice_stays_a_choice_and_arguments_still_fit_their_schema() -> None:
    desks = ("help@example.org", "sales@example.org", "none")
    schema = {"type": "object", "properties": {"to": {"enum": list(desks)}}}
    chosen = turn(user("I am li@example.org"), reply=desks[1], choices=desks, response_schema=schema)
    sent = turn(
        user("help@example.org"),
        reply=Message(
            role="assistant", tool_calls=(ToolCall(id="1", name="send", arguments=f'{{"to": "{desks[1]}"}}'),)
        ),
        tools=(Tool(name="send", parameters=schema),),
    )
    first, second = redacting().episode(example(turns=(chosen, sent))).turns
    assert first.reply.text in first.request.choices
    assert len(set(first.request.choices)) == 3
    assert first.request.response_schema == second.request.tools[0].parameters
    fitting = json.dumps(second.request.tools[0].parameters)
    assert json.dumps(json.loads(second.reply.message.tool_calls[0].arguments)["to"]) in fitting


def test_the_tokens_that_spell_out_a_redacted_reply_are_dropped() -> None:
    spelt = (TokenLogprob(token="li@", logprob=-0.1), TokenLogprob(token="example.org", logprob=-0.2))
    reply = Reply(message=Message(role="assistant", content="li@example.org"), model="m", token_logprobs=spelt)
    plain = reply.model_copy(update={"message": Message(role="assistant", content="no one")})
    request = Request(function="f", messages=())
    turns = tuple(Turn(request=request, reply=each) for each in (reply, plain))
    redacted = redacting().episode(example(turns=turns))
    assert [each.reply.token_logprobs for each in redacted.turns] == [(), spelt]


def test_report_counts_values_once_an_episode_and_changes_nothing() -> None:
    redactor, episode = Redactor(PrivacyConfig(mode="report")), full()
    assert redactor.episode(episode) is episode
    assert redactor.found == {"email": 1, "phone": 1, "card": 1}


def test_off_looks_at_nothing() -> None:
    redactor, episode = Redactor(PrivacyConfig()), full()
    assert redactor.episode(episode) is episode
    assert redactor.text(MAIL) == MAIL
    assert not redactor.found


def call(number: int, text: str, episode: str = "e") -> Call:
    said = turn(user(text))
    return Call(id=f"{episode}-{number}", episode=episode, run="r", task="t", case="c", policy="p", at=NOW, turn=said)


def said(call: Call) -> str:
    assert call.turn is not None
    return call.turn.request.messages[0].content


def test_calls_of_one_episode_share_placeholders_and_those_of_another_do_not() -> None:
    redactor = redacting()
    assert said(redactor.call(call(1, "a@example.org"))) == "[EMAIL_1]"
    assert said(redactor.call(call(2, "b@example.org and a@example.org"))) == "[EMAIL_2] and [EMAIL_1]"
    assert said(redactor.call(call(1, "b@example.org", episode="other"))) == "[EMAIL_1]"
    assert redactor.found == {"email": 3}


def test_a_failed_call_is_redacted_too() -> None:
    failed = call(1, "").model_copy(update={"turn": None, "failure": Failure(where="model", message=f"no {MAIL}")})
    assert redacting().call(failed).failure == Failure(where="model", message="no [EMAIL_1]")


def test_feedback_is_redacted_and_keeps_what_is_no_text() -> None:
    redactor = redacting()
    better = Message(role="assistant", content=f"Ask {MAIL}")
    shown = Feedback(id="1", episode="e", name="demonstration", demonstration=better, at=NOW)
    assert redactor.feedback(shown).demonstration == Message(role="assistant", content="Ask [EMAIL_1]")
    flag = Feedback(id="2", episode="e", name="success", value=True, at=NOW)
    assert redactor.feedback(flag) is flag


def test_a_redactor_travels_to_another_process() -> None:
    redactor = redacting()
    redactor.call(call(1, MAIL))
    travelled: Redactor = pickle.loads(pickle.dumps(redactor))
    assert travelled.episode(full()) == redactor.episode(full())
    assert travelled.config == redactor.config
