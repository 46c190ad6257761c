"""The questions of an application and their answers as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from affiliate.core.errors import FieldError, Invalid, Phrase

TEXT_CHARS_MIN: Final = 10
TEXT_CHARS_MAX: Final = 2_000
SITE_CHARS_MAX: Final = 300
NAME_CHARS_MAX: Final = 80
NOT_A_SITE: Final = Phrase("A web address that begins with https:// or http://.")


class Audience(StrEnum):
    """How many people the applicant reaches in a month, in classes."""

    UNDER_1000 = "under_1000"
    UNDER_10000 = "under_10000"
    UNDER_100000 = "under_100000"
    MORE = "more"


class Channel(StrEnum):
    """Where the applicant promotes."""

    BLOG = "blog"
    SOCIAL = "social"
    VIDEO = "video"
    MAIL = "mail"
    COUPONS = "coupons"
    CASHBACK = "cashback"
    ADVERTS = "adverts"
    PEOPLE = "people"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Answers:
    """What an applicant told, as it is kept with the enrollment."""

    channels: tuple[Channel, ...]
    how: str
    """In their own words: where and how they promote."""
    audience: Audience
    site: str = ""
    rule_version: int | None = None
    """Number of the version whose rules the applicant agreed to."""

    def check(self) -> None:
        """Raise Invalid with each answer that does not do."""
        errors = []
        if not self.channels:
            errors.append(FieldError("channels", "required", "Choose at least one."))
        if not TEXT_CHARS_MIN <= len(self.how.strip()) <= TEXT_CHARS_MAX:
            message = Phrase(
                "%(least)s to %(most)s characters, please.",
                least=TEXT_CHARS_MIN,
                most=TEXT_CHARS_MAX,
            )
            errors.append(FieldError("how", "length", message))
        if self.site and not is_site(self.site):
            errors.append(FieldError("site", "not_an_address", NOT_A_SITE))
        if errors:
            raise Invalid("Some answers are missing.", errors=errors)

    def document(self) -> dict[str, Any]:
        """As the row keeps it."""
        return {
            "channels": [channel.value for channel in self.channels],
            "how": self.how.strip(),
            "audience": self.audience.value,
            "site": self.site,
            "rule_version": self.rule_version,
        }


def is_site(text: str) -> bool:
    """Whether this may be shown as the address of somebody's site or channel."""
    return (
        len(text) <= SITE_CHARS_MAX
        and text.startswith(("https://", "http://"))
        and text.isprintable()
        and " " not in text
    )
