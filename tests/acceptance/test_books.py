"""The books of a clinic, from the command line to the running service."""

from __future__ import annotations

import json

from tests.acceptance.test_command_line import run

BOOK = "# Handbook\n\n## Parking\nThe car park of the eye clinic is at the north gate.\n"


def test_a_book_is_added_listed_asked_and_removed(tmp_path):
    (tmp_path / "hand book.md").write_text(BOOK, "utf-8")
    (tmp_path / "empty.pdf").write_bytes(b"")
    done = run(tmp_path, "kb", "add", "hand book.md", "empty.pdf", "missing.docx")
    assert done.returncode == 1
    assert "added: hand-book.md" in done.stdout
    assert "empty.pdf: is empty" in done.stderr
    assert "missing.docx: there is no such file" in done.stderr
    again = run(tmp_path, "kb", "add", "hand book.md")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    (listed,) = json.loads(run(tmp_path, "kb", "list", "--json").stdout)
    assert (listed["id"], listed["title"], listed["language"]) == ("hand-book.md", "Handbook", "en")
    assert "north gate" in run(tmp_path, "kb", "show", "hand-book.md").stdout
    asked = json.loads(run(tmp_path, "ask", "where is the car park", "--json").stdout)
    assert asked["hits"][0]["id"] == "hand-book.md#1"
    assert "“Handbook”, Parking" in asked["answer"]
    assert run(tmp_path, "kb", "remove", "hand-book.md").returncode == 0
    gone = run(tmp_path, "kb", "remove", "hand-book.md")
    assert gone.returncode == 1
    assert "kb list" in gone.stderr


def test_a_running_service_answers_from_a_book_added_meanwhile(tmp_path):
    (tmp_path / "b.md").write_text("# 手册\n\n## 停车\n停车场在医院北门。\n", "utf-8")
    question = json.dumps({"text": "停车场在哪里"}, ensure_ascii=False) + "\n"
    before = run(
        tmp_path, "chat", "--json", "--llm", "off", said=question, CONSENT__REQUIRED="false"
    )
    assert "北门" not in before.stdout
    run(tmp_path, "kb", "add", "b.md")
    after = run(
        tmp_path, "chat", "--json", "--llm", "off", said=question, CONSENT__REQUIRED="false"
    )
    assert "北门" in after.stdout
    assert "《手册》，停车" in after.stdout
