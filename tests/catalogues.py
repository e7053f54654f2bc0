"""The sentences of the source and their translations: `make messages` brings both together, lists the gaps.

python -m tests.catalogues           update every .po, write every .mo, list what is missing
python -m tests.catalogues --check   only list
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

CHECKOUT = Path(__file__).resolve().parent.parent
TRANSLATIONS = CHECKOUT / "app" / "translations"
KEYWORDS = {
    **DEFAULT_KEYWORDS,
    "_l": None,
    "lazy_gettext": None,
    "lazy_ngettext": (1, 2),
    # Errors that forms show: their first argument is looked up when they are shown.
    "Refusal": (1,),
    "RecurrenceError": (1,),
    "WindowError": (1,),
    "EndRefused": (1,),
}


@functools.cache
def extracted() -> Catalog:
    """Every sentence of the source, untranslated."""
    with (CHECKOUT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = Catalog(project="Veilleur", charset="utf-8")
    places = extract_from_dir(CHECKOUT, methods, options, KEYWORDS, comment_tags=())
    for _file, _line, sentence, _comments, context in places:
        found.add(sentence, context=context)
    return found


def languages() -> list[str]:
    """The codes of the folders."""
    return sorted(each.name for each in TRANSLATIONS.iterdir() if each.is_dir())


def po(language: str) -> Path:
    return TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"


def read(language: str) -> Catalog:
    """What is translated into a language so far; empty where its folder is."""
    if not po(language).exists():
        return Catalog(locale=language, project="Veilleur", charset="utf-8", fuzzy=False)
    with po(language).open("rb") as file:
        return read_po(file, locale=language)


def update(language: str) -> Catalog:
    """Take in new sentences, drop those that are gone, and write both files. Nothing is guessed."""
    catalog = read(language)
    catalog.update(extracted(), no_fuzzy_matching=True, update_creation_date=False)
    catalog.obsolete.clear()
    for message in catalog:
        if message.id and Locale.parse(language).language == "fr":
            spaced = tuple(map(with_french_spaces, forms(message)))
            message.string = spaced[0] if isinstance(message.id, str) else spaced
    catalog.version, catalog.msgid_bugs_address = "0", "see SECURITY.md and CONTRIBUTING.md"
    catalog.last_translator = catalog.language_team = "Veilleur"
    catalog.header_comment = f"# {Locale.parse(language).english_name} translation of Veilleur."
    po(language).parent.mkdir(parents=True, exist_ok=True)
    with po(language).open("wb") as file:
        write_po(file, catalog, width=0, no_location=True, sort_output=True, ignore_obsolete=True)
    with po(language).with_suffix(".mo").open("wb") as file:
        write_mo(file, catalog)
    return catalog


def with_french_spaces(text: str) -> str:
    """French sets a space before ; : ! ? and inside « », which must never break a line."""
    text = re.sub(r" (?=[;!?»](?:\s|$))", "\N{NARROW NO-BREAK SPACE}", text)
    text = text.replace("« ", "«\N{NARROW NO-BREAK SPACE}")
    return re.sub(r" (?=:(?:\s|$))", "\N{NO-BREAK SPACE}", text)


def forms(message: Message) -> tuple[str, ...]:
    """The sentence in each of its forms; one, but for those with a number."""
    string = message.string or ""
    return (string,) if isinstance(string, str) else tuple(string)


def name(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def missing(catalog: Catalog) -> Iterator[str]:
    """Sentences of the source without a whole translation."""
    for message in extracted():
        if message.id:
            found = catalog.get(message.id, message.context)
            if found is None or found.fuzzy or not all(forms(found)):
                yield name(message)


def main() -> int:
    parser = argparse.ArgumentParser(description="Bring sentences and translations together.")
    parser.add_argument("--check", action="store_true", help="only list what is missing")
    only_check = parser.parse_args().check
    for language in languages():
        gaps = list(missing(read(language) if only_check else update(language)))
        sys.stdout.write(f"{language}: {len(extracted()) - len(gaps)} of {len(extracted())} translated\n")
        sys.stdout.writelines(f"    {gap!r}\n" for gap in gaps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
