"""The audit log says in words what was done, in every language, and when."""

from __future__ import annotations

import pytest
from flask import Flask
from flask_babel import force_locale

from affiliate.core.languages import LANGUAGES
from tests.desks.audit_actions import actions
from tracker.desks.manage import audit_words
from tracker.desks.manage.audit_log import changes


def test_every_action_that_the_code_records_has_words_in_each_language(app: Flask) -> None:
    found = actions()
    assert len(found) > 100
    for language in LANGUAGES:
        with app.test_request_context(), force_locale(language):
            said = {code: audit_words.action(code) for code in found}
        wordless = {code: found[code] for code, words in said.items() if words == code}
        assert not wordless, language
        assert all(words.isascii() is (language == "en") for words in said.values())


def test_words_are_kept_for_no_action_that_nobody_records(app: Flask) -> None:
    with app.test_request_context():
        said = (audit_words._of_people(), audit_words._of_programs(), audit_words._of_money(),
                audit_words._of_shops())  # fmt: skip
    assert sorted({code for words in said for code in words} - set(actions())) == []


def test_an_action_of_an_older_version_stands_as_it_was_written(app: Flask) -> None:
    with app.test_request_context():
        assert audit_words.action("order.forgotten") == "order.forgotten"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-12-04T14:54:56.720152+00:00", "4 Dec 2026, 14:54"),
        ("2026-12-04T14:54:56Z", "4 Dec 2026, 14:54"),
        ("2026-12-04T17:54:56+03:00", "4 Dec 2026, 14:54"),
        ("2026-02-31T17:54:56+03:00", "2026-02-31T17:54:56+03:00"),
        ("2026-12-04", "2026-12-04"),
        ("B-2026-12-04T14:54:56Z", "B-2026-12-04T14:54:56Z"),
    ],
)
def test_a_moment_among_the_values_is_written_as_pages_write_moments(
    app: Flask, written: str, read: str
) -> None:
    with app.test_request_context():
        assert changes(None, {"ends_at": written}) == [("ends_at", None, read)]
