"""The translations: whole, up to date, true to the source; and a source without a word outside of them."""

from __future__ import annotations

import ast
import gettext
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.plurals import get_plural
from jinja2 import Environment, nodes

from tests import catalogues
from tests.catalogues import forms, name
from tests.conftest import CHECKOUT

COMPLETE = ("fr",)
LANGUAGES = catalogues.languages()
TEMPLATES = sorted((CHECKOUT / "app" / "templates").rglob("*.html"))
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


@pytest.fixture(scope="module", params=LANGUAGES)
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return catalogues.read(request.param)


def messages(catalog: Catalog) -> Iterator[Message]:
    return (each for each in catalog if each.id)


def translated(catalog: Catalog) -> Iterator[tuple[Message, str, str]]:
    """Each translation with the sentence that it stands for."""
    for message in messages(catalog):
        sources = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        for index, form in enumerate(forms(message)):
            if form:
                yield message, sources[min(index, len(sources) - 1)], form


def test_the_languages_promised_are_there() -> None:
    assert {"fr", "de", "es"} <= set(LANGUAGES)


def test_every_sentence_of_the_source_is_in_each_catalogue_and_no_other(catalog: Catalog) -> None:
    source = {(each.id, each.context) for each in messages(catalogues.extracted())}
    listed = {(each.id, each.context) for each in messages(catalog)}
    assert source == listed, f"run `make messages`: {source ^ listed}"
    assert not catalog.obsolete


@pytest.mark.parametrize("language", COMPLETE)
def test_a_complete_language_leaves_no_sentence_in_english(language: str) -> None:
    gaps = list(catalogues.missing(catalogues.read(language)))
    assert not gaps, f"{len(gaps)} missing:\n" + "\n".join(gaps)


def test_nothing_is_guessed(catalog: Catalog) -> None:
    assert [name(each) for each in messages(catalog) if each.fuzzy] == []


def test_each_translation_names_the_same_values(catalog: Catalog) -> None:
    for message, source, form in translated(catalog):
        wanted = set(PLACEHOLDER.findall(source))
        # "One more line" may leave out its number, in any language.
        may_lack = {"%(num)s", "%(num)d"} if not isinstance(message.id, str) else set()
        found = set(PLACEHOLDER.findall(form))
        every = set(PLACEHOLDER.findall(" ".join(message.id))) if may_lack else wanted
        assert wanted - found <= may_lack, form
        assert found <= every, form


def test_each_translation_takes_its_values(catalog: Catalog) -> None:
    for message, source, form in translated(catalog):
        values = {each[2:-2]: 1 for each in PLACEHOLDER.findall(" ".join([source, form]))}
        if values or not isinstance(message.id, str):
            assert "%" not in PLACEHOLDER.sub("", form % {"num": 1, **values}), form
        else:
            assert form.count("%") == source.count("%"), form


def test_plurals_are_whole_and_follow_the_rule_of_the_language(catalog: Catalog) -> None:
    rule = get_plural(str(catalog.locale))
    assert (catalog.num_plurals, catalog.plural_expr) == (rule.num_plurals, rule.plural_expr)
    for message in messages(catalog):
        if not isinstance(message.id, str) and any(forms(message)):
            assert len(forms(message)) == rule.num_plurals, message.id
            assert all(forms(message)), message.id


def test_translations_bring_no_markup_and_no_stray_space(catalog: Catalog) -> None:
    for _message, source, form in translated(catalog):
        assert set(re.findall(r"[<>&]|`", form)) <= set(re.findall(r"[<>&]|`", source)), form
        assert form == form.strip(), form
        assert "  " not in form, form
        assert "\n" not in form, form


def test_a_translation_ends_as_its_sentence_does(catalog: Catalog) -> None:
    for _message, source, form in translated(catalog):
        for mark in ":…?" if PLACEHOLDER.match(source) else ".:…?":  # units are abbreviated with a full stop
            assert source.endswith(mark) == form.endswith(mark), form
        assert form.count("!") == source.count("!"), form  # some networks have it in their addresses


def test_options_and_commands_are_never_translated(catalog: Catalog) -> None:
    literal = re.compile(r"--[\w-]+|flask [\w-]+|YOUR_UPLOAD_KEY|https?://|\b[\w-]+\.(?:json|md)\b")
    for _message, source, form in translated(catalog):
        assert literal.findall(source) == literal.findall(form), form


def test_french_never_breaks_a_line_before_a_mark() -> None:
    for _message, _source, form in translated(catalogues.read("fr")):
        assert catalogues.with_french_spaces(form) == form, f"run `make messages`: {form!r}"
        words = re.sub(r"https?://|\b\w+://|\d\d?:\d\d|[\w-]+: (?=valeur|Bearer|application)", "", form)
        assert not re.search(r"\w[;!?:](?:\s|$)", words), form
        assert "'" not in form, f"’ is the apostrophe of French: {form}"


def test_late_and_overdue_are_told_apart_in_every_language(catalog: Catalog) -> None:
    late, overdue = catalog.get("Late"), catalog.get("Overdue")
    assert late is not None
    assert overdue is not None
    assert forms(late) != forms(overdue)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_application_reads_is_what_was_written(language: str) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogues.read(language))
    compiled.seek(0)
    with catalogues.po(language).with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    wanted = gettext.GNUTranslations(compiled)
    assert {**shipped._catalog, "": ""} == {**wanted._catalog, "": ""}, "run `make messages`"  # type: ignore[attr-defined]


# Words outside of the catalogues

SPOKEN_ATTRIBUTES = {"alt", "title", "placeholder", "aria-label", "aria-description", "label"}
SPOKEN_DATA = re.compile(r"data-(label|busy|copied|empty|\w*text|\w*message)")
NAMES = {"Veilleur", "Duplicati"}
READER = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
WORD = re.compile(r"[^\W\d_]{2,}")


class Words(HTMLParser):
    """Text and spoken attributes that stand in a template as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("code", "pre", "script", "style")
        for key, value in attributes:
            if key in SPOKEN_ATTRIBUTES or SPOKEN_DATA.fullmatch(key):
                self._keep(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("code", "pre", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._keep(data)

    def _keep(self, text: str) -> None:
        if set(WORD.findall(text)) - NAMES:
            self.found.append(" ".join(text.split()))


def without_expressions(source: str) -> str:
    """The template with nothing where an expression or a statement stood, nor attributes that fill one."""
    text = "".join(text for _line, kind, text in READER.lex(source) if kind == "data")
    return re.sub(r'^( data-[\w-]+="[^"]*")+$', "", text, flags=re.MULTILINE)


TRANSLATING = {"_", "gettext", "ngettext"}
SILENT = (nodes.Compare, nodes.Test, nodes.Getitem, nodes.Getattr, nodes.Filter)
NAME = re.compile(r"=|^[a-z_]+\.[a-z_]+$")  # of an attribute, of a view
FILES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


def spoken_constants(node: nodes.Node) -> Iterator[str]:
    """Texts that an expression would show without asking for their translation."""
    for child in node.iter_child_nodes():
        if isinstance(child, FILES):
            continue
        if isinstance(child, nodes.Call):
            called = child.node.name if isinstance(child.node, nodes.Name) else ""
            if called in TRANSLATING or called == "url_for":
                continue
        if isinstance(child, nodes.Const) and isinstance(child.value, str):
            text = " ".join(word for word in child.value.split() if word not in NAMES)
            if re.search(r"^[A-Z][a-z]+|[A-Za-z]{2,}[ ,.:] ?[A-Za-z]{2,}", text) and not NAME.search(text):
                yield child.value
        if not isinstance(child, SILENT):
            yield from spoken_constants(child)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: str(each.relative_to(each.parents[1])))
def test_a_template_says_nothing_that_can_not_be_translated(template: Path) -> None:
    source = template.read_text()
    words = Words()
    words.feed(without_expressions(source))
    assert words.found == []
    assert list(spoken_constants(READER.parse(source))) == []


def test_the_search_for_words_finds_them() -> None:
    words = Words()
    words.feed(
        without_expressions(
            '<p title="Help">{{ x }} hours</p><pre>plain</pre>{% if y %}<b>Veilleur</b>{% endif %}'
        )
    )
    assert words.found == ["Help", "hours"]
    parsed = READER.parse('{{ field(x, hint="Such as this") }}{{ _("Fine here") }}{{ y == "never ran" }}')
    assert list(spoken_constants(parsed)) == ["Such as this"]


@pytest.mark.parametrize("file", sorted((CHECKOUT / "app").rglob("*.py")), ids=lambda each: each.stem)
def test_nothing_is_flashed_or_blamed_without_translation(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "flash":
            assert not isinstance(node.args[0], ast.Constant), f"{file}:{node.lineno}"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr == "errors":
                    assert not any(isinstance(e, ast.Constant | ast.JoinedStr) for e in node.value.elts), (
                        f"{file}:{node.lineno}"
                    )
