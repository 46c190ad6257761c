"""What pages call the kinds of promo materials."""

from __future__ import annotations

from typing import Final

from affiliate.promo.rules import Kind
from tracker.desks.words import _

ICONS: Final[dict[Kind, str]] = {
    Kind.BANNER: "photo", Kind.LOGO: "star", Kind.TEXT: "file-text", Kind.EMAIL: "mail",
    Kind.LANDING: "browser", Kind.PAGE: "world", Kind.VIDEO: "player-play", Kind.KEYWORDS: "hash",
    Kind.ARTICLE: "book-2", Kind.NEWS: "discount", Kind.NOTES: "users",
}  # fmt: skip


def kinds() -> dict[Kind, str]:
    """Each kind by its name, as a heading over several."""
    return {
        Kind.BANNER: _("Banners"),
        Kind.LOGO: _("Logos"),
        Kind.TEXT: _("Texts"),
        Kind.EMAIL: _("E-mails"),
        Kind.LANDING: _("Landing pages"),
        Kind.PAGE: _("Hosted pages"),
        Kind.VIDEO: _("Videos"),
        Kind.KEYWORDS: _("Keywords"),
        Kind.ARTICLE: _("Articles"),
        Kind.NEWS: _("News and sales"),
        Kind.NOTES: _("Audience and market"),
    }


def hints() -> dict[Kind, str]:
    """What each kind is for, in a sentence."""
    link = _("Write {link} where the affiliate's link belongs; without it, it stands at the end.")
    return {
        Kind.BANNER: _("A picture that leads to the shop. Affiliates copy its code into a page."),
        Kind.LOGO: _("The shop's mark, for articles and lists of partners."),
        Kind.TEXT: f"{_('A few lines for a post or a page.')} {link}",
        Kind.EMAIL: f"{_('A letter for an affiliate’s own readers.')} {link}",
        Kind.LANDING: _("A page of the shop that is made to sell; links lead straight to it."),
        Kind.PAGE: _(
            "A page that stands here: heading, text, picture and a button to the shop. Lines that "
            "begin with a hyphen become a list."
        ),
        Kind.VIDEO: _("A film to show; it is played where it lies, and your shop is linked below."),
        Kind.KEYWORDS: _("What people search for, one a line."),
        Kind.ARTICLE: f"{_('A longer text to publish or to borrow from.')} {link}",
        Kind.NEWS: f"{_('What is new, and what is cheaper for a while.')} {link}",
        Kind.NOTES: _("Who buys, what they ask for, how the market moves; for affiliates alone."),
    }
