"""A service people know by name: the fields of its form, and the address the Apprise library has for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from flask_babel import lazy_gettext as _

from app.notify.channel import Config, ConfigError, Field, values_of

Values = dict[str, str]
SERVER_HELP = _("With http:// or https://, and its port if it has one of its own")

# {name} is one piece of the address, {name/} several with a slash between them, {server} a host with its
# port, {place} the same with a path.
_PIECE = re.compile(r"\{(\w+)(/?)\}")
_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_SERVER = re.compile(rf"(?i)(https?)://((?:{_HOST})(?::[0-9]{{1,5}})?)((?:/[\w.~%-]+)*)/?")
_IN_ADDRESS = {"server": r"[^/?@]+", "place": r"[^?@]+"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """A field into which the address is pasted that the service itself hands out.

    `parts` names what is in it, and `whole` puts it together again. What may be missing is in `optional`,
    with the text around it; one that is nothing but text becomes yes or no in the address for Apprise.
    """

    field: str
    parts: re.Pattern[str]
    whole: str
    example: str
    optional: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def taken_apart(self, text: str) -> Values:
        match = self.parts.fullmatch(text)
        if match is None:
            raise ConfigError(self.field, f"an address such as {self.example}")
        found = {name: unquote(part or "") for name, part in match.groupdict().items()}
        flags = {name: "yes" if found[name] else "no" for name in found if self._is_flag(name)}
        return found | flags

    def put_together(self, texts: Values, scheme: str) -> str:
        known = {name: quote(text, safe="/:[]") for name, text in texts.items()}
        for name, around in self.optional.items():
            is_there = known[name] == "yes" if self._is_flag(name) else bool(known[name])
            known[name] = around.format(known[name]) if is_there else ""
        return self.whole.format(**{**known, "scheme": scheme})

    def _is_flag(self, name: str) -> bool:
        return name in self.optional and "{}" not in self.optional[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One entry of the catalogue. Without `scheme` it is one of our own kinds, with its fields as they are.

    A `scheme` that ends in `[s]` is written with the s for an encrypted server, without it for another.
    """

    name: str
    label: str
    group: str
    help: str = ""
    kind: str = "apprise"
    fields: tuple[Field, ...] = ()
    scheme: str = ""
    template: str = ""
    pasted: Pasted | None = None

    def config(self, values: Mapping[str, object]) -> Config:
        """What is stored for a filled-in form; ConfigError names the field. Not checked by its kind yet."""
        given = dict(values)
        if not self.scheme:
            return given
        texts = values_of(given, self.fields)
        return {"urls": self._address({**texts, **self._unpacked(texts)})}

    def values(self, config: Config) -> Values | None:
        """The form of what is stored; None when it isn't an address that this service would have made."""
        if not self.scheme:
            return {name: str(value) for name, value in config.items()}
        found = self._pattern().fullmatch(str(config.get("urls", "")))
        if found is None:
            return None
        listed = {name for name, several in _PIECE.findall(self.template) if several}
        texts = {name: _read(piece or "", name in listed) for name, piece in found.groupdict().items()}
        return self._packed(texts)

    def _unpacked(self, texts: Values) -> Values:
        found: Values = {}
        if self.pasted:
            found = self.pasted.taken_apart(texts[self.pasted.field])
        for name in ("server", "place"):
            if name in texts:
                scheme, where = _server(name, texts[name])
                found |= {"scheme": scheme, name: where}
        return found

    def _packed(self, texts: Values) -> Values:
        scheme = "https" if texts.pop("tls", "s") else "http"
        if self.pasted:
            texts[self.pasted.field] = self.pasted.put_together(texts, scheme)
        for name in ("server", "place"):
            if name in texts:
                texts[name] = f"{scheme}://{texts[name]}"
        own = {each.name for each in self.fields}
        return {name: text for name, text in texts.items() if name in own}

    def _address(self, texts: Values) -> str:
        def piece(found: re.Match[str]) -> str:
            name, several = found[1], found[2]
            if name in _IN_ADDRESS:
                return texts[name]
            if several:
                return "/".join(quote(each, safe="") for each in items(texts[name]))
            return quote(texts[name], safe="")

        tls = "s" if texts.get("scheme") == "https" else ""
        return f"{self.scheme.replace('[s]', tls)}://{_PIECE.sub(piece, self.template)}"

    def _pattern(self) -> re.Pattern[str]:
        scheme = self.scheme.replace("[s]", "(?P<tls>s?)")
        pieces, end = [], 0
        for found in _PIECE.finditer(self.template):
            shape = _IN_ADDRESS.get(found[1]) or (r"[^?@]*" if found[2] else r"[^/?@]*")
            pieces += [re.escape(self.template[end : found.start()]), f"(?P<{found[1]}>{shape})"]
            end = found.end()
        return re.compile(f"{scheme}://{''.join(pieces)}{re.escape(self.template[end:])}")


def items(text: str) -> list[str]:
    """Several values as people write them into one field: with commas, spaces or lines between them."""
    return list(dict.fromkeys(filter(None, re.split(r"[,;\s]+", text))))


def _read(piece: str, is_list: bool) -> str:
    if is_list:
        return ", ".join(unquote(each) for each in piece.split("/") if each)
    return unquote(piece)


def _server(name: str, text: str) -> tuple[str, str]:
    found = _SERVER.fullmatch(text)
    if found is None or (name == "server" and found[3]):
        raise ConfigError(name, "the address of the server, such as https://chat.example.org")
    return found[1].lower(), found[2] + found[3]


def matching(services: Iterator[Service], config: Config) -> tuple[Service, Values] | None:
    """The service that made this address, with the values of its form."""
    for each in services:
        values = each.values(config)
        if values is not None:
            return each, values
    return None
