"""What pages say about products and about feeds that could not be fetched."""

from __future__ import annotations

from typing import Final

from affiliate.core.fetch import Trouble
from affiliate.products.fetching import UNREADABLE
from affiliate.products.rules import Availability, Sort
from tracker.desks.words import _

TONES: Final[dict[Availability, str]] = {
    Availability.IN_STOCK: "success",
    Availability.OUT_OF_STOCK: "neutral",
    Availability.PREORDER: "info",
    Availability.BACKORDER: "warning",
}


def availabilities() -> dict[str, str]:
    """Whether a product can be bought."""
    return {
        Availability.IN_STOCK: _("in stock"),
        Availability.OUT_OF_STOCK: _("sold out"),
        Availability.PREORDER: _("to be ordered ahead"),
        Availability.BACKORDER: _("comes later"),
    }


def sorts() -> dict[Sort, str]:
    """In which order products are shown."""
    return {
        Sort.BEST: _("Best sellers"),
        Sort.NEW: _("New"),
        Sort.SALE: _("On sale"),
    }


def troubles() -> dict[str, str]:
    """Why a feed's address brought nothing, and what to do."""
    return {
        Trouble.NOT_ALLOWED: _("The address is not one that is fetched: https, and no other port."),
        Trouble.NO_SUCH_HOST: _("There is no such host. Look for a slip in the address."),
        Trouble.PRIVATE: _("The host leads into a private network, where nothing is fetched."),
        Trouble.UNREACHABLE: _("The host does not answer, or not with a certificate of its own."),
        Trouble.TOO_SLOW: _("The answer took longer than a minute."),
        Trouble.REDIRECTED: _(
            "The address leads on to another one. Enter that one: nothing is followed."
        ),
        Trouble.REFUSED: _("The host answered, but with an error instead of a feed."),
        Trouble.PACKED: _("The answer came compressed. The feed has to lie there as it is."),
        Trouble.TOO_LARGE: _("The feed is larger than 20 MB."),
        UNREADABLE: _("The feed came, but cannot be taken as it is; see the imports below."),
    }


def states() -> dict[str, tuple[str, str]]:
    """What became of an import: in a word, and its tone."""
    return {
        "waiting": (_("waits for you"), "warning"),
        "done": (_("imported"), "success"),
        "refused": (_("refused"), "danger"),
        "discarded": (_("discarded"), "neutral"),
    }
