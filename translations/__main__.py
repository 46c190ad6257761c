"""`make translations`: look for new texts, bring every catalogue up to date, compile it.

With codes of languages as arguments, catalogues for those are begun.
"""

from __future__ import annotations

import sys

from babel import Locale

from translations import catalogues
from translations.extract import template_catalog


def main() -> None:
    """Write every catalogue; say what each still lacks."""
    template = template_catalog()
    for language in sorted({*catalogues.languages(), *sys.argv[1:]}):
        Locale.parse(language)
        catalog = catalogues.updated(catalogues.read(language), template)
        catalogues.path_of(language).parent.mkdir(parents=True, exist_ok=True)
        catalogues.path_of(language).write_bytes(catalogues.po_bytes(catalog))
        catalogues.path_of(language, "mo").write_bytes(catalogues.mo_bytes(catalog))
        missing = [message.id for message in catalog if message.id and not _whole(message)]
        sys.stdout.write(f"{language}: {len(catalog)} texts, {len(missing)} without translation\n")
        for text in missing:
            sys.stdout.write(f"  {text!r}\n")


def _whole(message: object) -> bool:
    string = message.string  # type: ignore[attr-defined]
    return all(string) if isinstance(string, list | tuple) else bool(string)


if __name__ == "__main__":
    main()
