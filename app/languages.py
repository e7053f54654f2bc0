"""Which language a page speaks: its reader's own, else what the browser asks for, else English."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from flask import current_app, has_request_context, request
from flask_babel import get_babel

from app import access

DEFAULT = "en"
_MOST_WISHES = 20


def chosen() -> str:
    """The locale of this request, with the region its reader names: `fr_CA` is spoken to in French."""
    # Programs read the answers of the API, and rely on their words.
    if not has_request_context() or access.is_api():
        return DEFAULT
    identity = access.reader()
    own = identity.language if identity else None
    if own is None or own not in available():
        return next(_wishes(), DEFAULT)
    # The region, and with it how times and numbers are written, is still the browser's to say.
    return next((each for each in _wishes() if Locale.parse(each).language == own), own)


def _wishes() -> Iterator[str]:
    """What the browser asks for and Veilleur speaks, best first."""
    for tag, quality in list(request.accept_languages)[:_MOST_WISHES]:
        spoken = _spoken(tag.replace("-", "_")) if quality > 0 else None
        if spoken:
            yield spoken


def _spoken(tag: str) -> str | None:
    codes, language = available(), tag.partition("_")[0].lower()
    # Looked up before anything is read about it: there are a thousand locales.
    if language not in {code.partition("_")[0] for code in codes}:
        return None
    try:
        wished = str(Locale.parse(tag))
    except (UnknownLocaleError, ValueError):
        wished = language
    if language in codes or wished in codes:
        return wished
    return next(code for code in codes if code.startswith(f"{language}_"))


def available() -> tuple[str, ...]:
    """The codes of the languages that have a folder, English first."""
    return _found(current_app.root_path)


@lru_cache(maxsize=8)
def _found(_root_path: str) -> tuple[str, ...]:
    translated = {str(each) for each in get_babel().instance.list_translations()}
    return (DEFAULT, *sorted(translated - {DEFAULT}))


def names() -> dict[str, str]:
    """The languages by their code, each called as those who speak it call it."""
    own = {code: str(Locale.parse(code).get_display_name(code)) for code in available()}
    return {code: name[:1].upper() + name[1:] for code, name in own.items()}
