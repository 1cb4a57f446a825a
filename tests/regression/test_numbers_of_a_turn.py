"""Numbered choices go on over the replies of one turn; a typed number must mean the same one.

The result of a consult had choices 1 to 3 and the plan behind it 4 to 6, but only the plan's three
were remembered: "4" was not understood, and "1" accepted the plan instead of calling staff.
"""

from __future__ import annotations

from core.reply import Button, say
from core.turn.answer import Answer
from core.turn.state import DialogState
from core.turn.words import typed_button


def test_a_number_means_the_line_that_shows_it() -> None:
    answer = Answer(DialogState(), "zh-Hans", 0, "Asia/Shanghai", ())
    answer.say(say("assessment", "结果", buttons=((Button("联系医护", "v1:card:staff"),),)))
    answer.say(say("notice", "没有按钮"))
    answer.say(say("plan", "提醒", buttons=((Button("好", "v1:plan:yes"),),)))
    offered = answer.state.offered
    assert typed_button("1", offered, numbered=True) == "v1:card:staff"
    assert typed_button("2", offered, numbered=True) == "v1:plan:yes"
