"""Settings: no default secret, no debug, each refusal names its variable."""

from __future__ import annotations

from typing import Any

import pytest

from affiliate.core.config import Settings, SettingsError

GOOD = {
    "DATABASE_URL": "postgresql://kopeck@db/kopeck",
    "REDIS_URL": "redis://cache:6379/0",
    "KOPECK_SECRET": "s" * 40,
    "KOPECK_PUBLIC_URL": "https://kopeck.example",
}


def test_production_is_the_default_and_stripe_is_not_configured() -> None:
    settings = Settings.from_environ(GOOD)
    assert settings.production
    assert settings.stripe_api_key == ""
    assert settings.trusted_hosts == ("kopeck.example",)
    assert settings.database_url == "postgresql+psycopg://kopeck@db/kopeck"
    assert settings.proxy_hops == 0


@pytest.mark.abuse("A48")
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"KOPECK_SECRET": ""}, "KOPECK_SECRET"),
        ({"KOPECK_SECRET": "short"}, "KOPECK_SECRET"),
        ({"KOPECK_SECRET": "s" * 40 + ",short"}, "KOPECK_SECRET"),
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        ({"REDIS_URL": " "}, "REDIS_URL"),
        ({"KOPECK_PUBLIC_URL": ""}, "KOPECK_PUBLIC_URL"),
        ({"KOPECK_PUBLIC_URL": "http://kopeck.example"}, "KOPECK_PUBLIC_URL"),
        ({"KOPECK_PUBLIC_URL": "https://kopeck.example/path"}, "KOPECK_PUBLIC_URL"),
        ({"KOPECK_PUBLIC_URL": "kopeck.example"}, "KOPECK_PUBLIC_URL"),
        ({"KOPECK_MODE": "staging"}, "KOPECK_MODE"),
        ({"FLASK_DEBUG": "1"}, "FLASK_DEBUG"),
        ({"KOPECK_PROXY_HOPS": "two"}, "KOPECK_PROXY_HOPS"),
        ({"KOPECK_PROXY_HOPS": "-1"}, "KOPECK_PROXY_HOPS"),
        ({"KOPECK_PROXY_HOPS": "21"}, "KOPECK_PROXY_HOPS"),
        ({"KOPECK_DATABASE_POOL_SIZE": "0"}, "KOPECK_DATABASE_POOL_SIZE"),
        ({"KOPECK_JOURNAL_SYNC": "never"}, "KOPECK_JOURNAL_SYNC"),
        ({"KOPECK_STRIPE_API_BASE": "http://127.0.0.1:8200"}, "KOPECK_STRIPE_API_BASE"),
    ],
)
def test_a_setting_that_is_missing_or_unsafe_is_refused_by_name(
    changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.from_environ(GOOD | changed)


def test_keys_differ_by_purpose_and_older_secrets_still_verify() -> None:
    old = Settings.from_environ(GOOD)
    new = Settings.from_environ(GOOD | {"KOPECK_SECRET": "n" * 40 + "," + GOOD["KOPECK_SECRET"]})
    assert old.key("click-token") != old.key("flask")
    assert new.key("click-token") != old.key("click-token")
    assert new.keys("click-token")[1] == old.key("click-token")
