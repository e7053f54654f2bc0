"""Each reader in their own language, zone and formats: pages, errors, forms and messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask_babel import force_locale
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app import access, clock, formats, languages
from app.models import Channel, Job, User
from app.notify import ConfigError, check, texts
from tests import catalogues, factories
from tests.catalogues import forms
from tests.conftest import CHECKOUT
from tests.visitors import FILLED, furnish
from tests.web import LoggedIn, Site, site

FRENCH = {"Accept-Language": "fr-FR,fr;q=0.9,en;q=0.8"}
AT = datetime(2026, 11, 3, 8, 10, tzinfo=UTC)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, VEILLEUR_TIMEZONE="Europe/Paris") as made:
        yield made


@pytest.fixture
def admin(here: Site) -> LoggedIn:
    return here.administrator()


def prefer(here: Site, **columns: str | None) -> None:
    with here.database.writing() as rows:
        rows.execute(update(User).where(User.username == "admin").values(**columns))


def language_of(answer: TestResponse) -> str:
    found = re.search(r'<html lang="([^"]+)"', answer.text)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize(
    ("asked", "lang", "button"),
    [
        (None, "en", "Log in"),
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr-FR", "Se connecter"),
        ("fr-CA", "fr-CA", "Se connecter"),
        ("de-AT,en;q=0.3", "de-AT", "Anmelden"),
        ("es-MX,es;q=0.9", "es-MX", "Iniciar sesión"),
        ("es-419", "es-419", "Iniciar sesión"),
        ("en-US,en;q=0.9,fr;q=0.8", "en-US", "Log in"),
        ("ja,fr;q=0.5", "fr", "Se connecter"),
        ("en;q=0.1,de;q=0.9", "de", "Anmelden"),
        ("fr;q=0,de;q=0.1", "de", "Anmelden"),
        ("fr-ZZ", "fr-FR", "Se connecter"),
        ("FR-fr", "fr-FR", "Se connecter"),
        ("tlh,xx;q=0.9", "en", "Log in"),
        ("*", "en", "Log in"),
        ("fr_" + "x" * 5000, "fr", "Se connecter"),
        ("../../etc/passwd,\x7f;q=x", "en", "Log in"),
    ],
)
def test_a_stranger_is_spoken_to_as_the_browser_asks(
    here: Site, asked: str | None, lang: str, button: str
) -> None:
    headers = {"Accept-Language": asked} if asked else {}
    answer = here.stranger().get("/login", headers=headers)
    assert language_of(answer) == lang
    assert f"<button>{button}</button>" in answer.text
    assert "Accept-Language" in answer.vary


@pytest.mark.parametrize(
    ("own", "asked", "lang"),
    [
        ("de", "fr-FR,fr", "de"),
        ("en", "fr-FR,fr", "en"),
        ("de", "fr,de-CH;q=0.3", "de-CH"),  # the region is the browser's to say
        ("fr", None, "fr"),
        (None, "fr-FR", "fr-FR"),
        ("xx", "fr-FR", "fr-FR"),
        ("../..", None, "en"),
    ],
)
def test_the_language_of_the_account_wins_over_the_browser(
    here: Site, admin: LoggedIn, own: str | None, asked: str | None, lang: str
) -> None:
    prefer(here, language=own)
    assert language_of(admin.get("/", headers={"Accept-Language": asked} if asked else {})) == lang


def test_the_languages_offered_call_themselves_by_their_own_names(here: Site) -> None:
    with here.app.app_context():
        assert languages.available()[0] == "en"
        assert {"en": "English", "fr": "Français", "de": "Deutsch", "es": "Español"}.items() <= (
            languages.names().items()
        )


def test_the_api_speaks_english_to_everybody(here: Site, admin: LoggedIn) -> None:
    prefer(here, language="fr")
    missing = admin.get("/api/nowhere", headers=FRENCH)
    assert missing.json == {"error": "Not found"}
    refused = here.viewer().post("/api/cron-config", json={"interval": "5min"}, headers=FRENCH)
    assert refused.json == {"error": "Forbidden", "message": "This needs an administrator."}
    ended = admin.post(
        "/api/cron-config", json={"interval": "5min", "until": "2030-01-01T00:00Z"}, headers=FRENCH
    )
    assert ended.json["message"] == "until: only disabled can have an end"


def test_error_pages_speak_the_language_of_the_account(here: Site, admin: LoggedIn) -> None:
    prefer(here, language="de")
    page = admin.get("/nowhere", headers=FRENCH)
    assert (page.status_code, language_of(page)) == (404, "de")
    assert "<h1>Nicht gefunden</h1>" in page.text
    assert "Diese Seite gibt es nicht" in page.text
    forged = admin.client.post("/settings/monitoring/check")
    assert forged.status_code == 400
    assert "Das CSRF-Token fehlt. Gehen Sie zurück" in forged.text
    forbidden = here.viewer().post("/settings/monitoring/check", headers=FRENCH)
    assert "<h1>Accès refusé</h1>" in forbidden.text
    assert "Cela demande un administrateur." in forbidden.text


def test_without_a_database_the_error_follows_the_browser(here: Site, admin: LoggedIn) -> None:
    with here.database.writing() as rows:
        rows.connection().exec_driver_sql("ALTER TABLE user_session RENAME TO lost")
    page = admin.get("/", headers=FRENCH)
    assert (page.status_code, language_of(page)) == (503, "fr-FR")
    assert "La base de données est inutilisable" in page.text
    assert admin.get("/nowhere", headers=FRENCH).status_code == 404
    forged = admin.client.post("/login", data={"username": "a", "password": "b"}, headers=FRENCH)
    assert forged.status_code == 400


def test_forms_refuse_in_the_language_of_the_page(here: Site, admin: LoggedIn) -> None:
    with here.database.writing() as rows:
        job_id = factories.add_job(rows, now=clock.utcnow()).id
    entered = {"repeat": "1D", "first": "2026-11-22T22:00", "zone": "Mars/Olympus"}
    page = admin.post(f"/jobs/{job_id}/schedule", data=entered, headers=FRENCH)
    assert page.status_code == 400
    assert "Valeur attendue\u00a0: un fuseau horaire tel que Europe/Paris." in page.text
    page = admin.post(f"/jobs/{job_id}/tolerance", data={"minutes": "soon"}, headers=FRENCH)
    assert "N&#39;est pas un entier valide." in page.text
    page = admin.post(f"/jobs/{job_id}/pause", data={"until": "2020-01-01T00:00"}, headers=FRENCH)
    assert "Ce moment est déjà passé." in page.text
    window = {"name": "x", "zone": "UTC", "days": "mon", "start": "25:00", "minutes": "5"}
    page = admin.post("/settings/maintenance/weekly", data=window, headers=FRENCH)
    assert "Valeur attendue\u00a0: une heure telle que 22:00." in page.text
    login = here.stranger()
    token = login.get("/api/csrf").json["csrfToken"]
    page = login.post("/login", data={"csrf_token": token, "username": "a"}, headers=FRENCH)
    assert "Ce champ est requis." in page.text


def test_a_refused_end_is_explained_in_the_language_of_the_page(admin: LoggedIn) -> None:
    entered = {"interval": "disabled", "until": "2020-01-01T00:00"}
    page = admin.post("/settings/monitoring", data=entered, headers=FRENCH)
    assert page.status_code == 400
    assert "Cette fin ne peut pas être utilisée\u00a0: ce moment est déjà passé." in page.text


def test_a_channel_says_what_it_expects_in_the_language_of_the_page(here: Site) -> None:
    with here.app.test_request_context("/", headers=FRENCH), pytest.raises(ConfigError) as refused:
        check("ntfy", {"server": "https://ntfy.sh", "topic": "a b"})
    assert refused.value.expected == "1 à 64 lettres, chiffres, - et _"
    with pytest.raises(ConfigError) as refused:
        check("ntfy", {"server": "https://ntfy.sh", "topic": "a b"})
    assert refused.value.expected == "1 to 64 letters, digits, - and _"


# Zones


def test_times_are_read_and_entered_in_the_zone_of_the_account(here: Site, admin: LoggedIn) -> None:
    prefer(here, timezone="America/New_York")
    with here.database.writing() as rows:
        job_id = factories.add_job(rows, last_good_at=AT).id
    page = admin.get(f"/jobs/{job_id}").text
    assert "Tue 3 Nov 2026, 03:10" in page
    assert "All times are in the zone America/New_York." in page
    assert "Time zone: America/New_York." in page
    assert 'value="America/New_York"' in admin.get(f"/jobs/{job_id}/schedule/edit").text
    assert admin.post(f"/jobs/{job_id}/pause", data={"until": "2030-07-01T08:00"}).status_code == 302
    with here.database.reading() as rows:
        assert rows.get_one(Job, job_id).paused_until_at == datetime(2030, 7, 1, 12, 0, tzinfo=UTC)
    assert "Paused until Mon 1 Jul 2030, 08:00" in admin.get(f"/jobs/{job_id}").text
    # Everybody else goes on in the zone of the installation.
    assert "Paused until Mon 1 Jul 2030, 14:00" in here.viewer().get(f"/jobs/{job_id}").text


def test_the_end_of_a_disabled_time_comes_back_as_it_was_entered(here: Site, admin: LoggedIn) -> None:
    prefer(here, timezone="Asia/Tokyo")
    tomorrow = (clock.utcnow() + timedelta(days=1)).strftime("%Y-%m-%dT09:30")
    entered = {"interval": "disabled", "until": tomorrow}
    assert admin.post("/settings/monitoring", data=entered).status_code == 302
    assert f'value="{tomorrow}"' in admin.get("/settings/monitoring").text
    assert '"disabledUntil": "' + tomorrow[:10] + 'T00:30:00Z"' in here.interval_file.read_text()


def test_a_window_is_offered_in_the_zone_of_the_account(here: Site, admin: LoggedIn) -> None:
    prefer(here, timezone="Asia/Tokyo")
    assert admin.get("/settings/maintenance").text.count('value="Asia/Tokyo"') >= 2


@pytest.mark.parametrize(
    "zone",
    [
        "Mars/Olympus",
        "",
        "../../etc/passwd",
        "Europe",
        pytest.param("a\x00b", marks=pytest.mark.sqlite("PostgreSQL stores no NUL")),
    ],
)
def test_an_unknown_zone_gives_way_to_that_of_the_installation(
    here: Site, admin: LoggedIn, zone: str
) -> None:
    prefer(here, timezone=zone)
    assert "All times are in the zone Europe/Paris." in admin.get("/").text


# Formats


@pytest.mark.parametrize(
    ("locale", "moment", "zoned"),
    [
        ("en", "Tue 3 Nov 2026, 09:10", "Tue 3 Nov, 09:10 Europe/Paris"),
        ("en_GB", "Tue 3 Nov 2026, 09:10", "Tue 3 Nov, 09:10 Europe/Paris"),
        ("en_US", "Tue, Nov 3, 2026, 9:10\u202fAM", "Tue, Nov 3, 9:10\u202fAM Europe/Paris"),
        ("fr", "mar. 3 nov. 2026, 09:10", "mar. 3 nov., 09:10 Europe/Paris"),
        ("de", "Di., 3. Nov. 2026, 09:10", "Di., 3. Nov., 09:10 Europe/Paris"),
        ("es", "mar, 3 nov 2026, 9:10", "mar, 3 nov, 9:10 Europe/Paris"),
    ],
)
def test_times_are_written_as_the_locale_does(here: Site, locale: str, moment: str, zoned: str) -> None:
    with here.app.test_request_context("/"), force_locale(locale):
        assert (formats.moment(AT), formats.zoned(AT)) == (moment, zoned)


def test_the_parts_of_a_time_are_written_in_any_zone(here: Site) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    with here.app.test_request_context("/"), force_locale("fr"):
        assert (formats.day(AT), formats.time_of_day(AT)) == ("mar. 3 nov.", "09:10")
        assert (formats.date(AT, tokyo), formats.time_of_day(AT, tokyo)) == ("mar. 3 nov. 2026", "17:10")
        assert formats.moment(AT, tokyo) == "mar. 3 nov. 2026, 17:10"


def test_nobody_else_writes_times_and_numbers_by_a_pattern_of_their_own() -> None:
    own = re.compile(
        r"\bformat_(?:datetime|date|time|skeleton|decimal|number|percent)\b|(?<!func\.)strftime\("
    )
    writers = {"formats.py", "reader.py"}  # reader.py writes for the language of a channel
    found = {each.name for each in (CHECKOUT / "app").rglob("*.py") if own.search(each.read_text())}
    assert found - writers <= {"clock.py"}, "use date, day, time_of_day, moment and count of app.formats"


@pytest.mark.parametrize(
    ("locale", "sizes", "durations", "count"),
    [
        (
            "en",
            ["0 bytes", "1 byte", "2 kB", "91.4 MB", "1.5 PB"],
            ["3 h 20 min", "2 d 1 h", "5 s"],
            "48,213",
        ),
        (
            "fr",
            ["0 octet", "1 octet", "2\u202fko", "91,4\u202fMo", "1,5\u202fPo"],
            ["3\u202fh 20\u202fmin", "2\u202fj 1\u202fh", "5\u202fs"],
            "48\u202f213",
        ),
        (
            "de",
            ["0 Byte", "1 Byte", "2 kB", "91,4 MB", "1,5 PB"],
            ["3 Std. 20 Min.", "2 Tg. 1 Std.", "5 Sek."],
            "48.213",
        ),
        (
            "es",
            ["0 bytes", "1 byte", "2 kB", "91,4 MB", "1,5 PB"],
            ["3 h 20 min", "2 d 1 h", "5 s"],
            "48.213",
        ),
    ],
)
def test_sizes_durations_and_numbers_are_written_as_the_locale_does(
    here: Site, locale: str, sizes: list[str], durations: list[str], count: str
) -> None:
    with here.app.test_request_context("/"), force_locale(locale):
        assert [formats.size(each) for each in (0, 1, 2000, 91_400_000, 1_500_000_000_000_000)] == sizes
        assert [formats.duration(each) for each in (12_000, 176_400, 5)] == durations
        assert formats.count(48213) == count


def test_how_long_ago_is_told_in_the_language_of_the_page(here: Site) -> None:
    with here.app.test_request_context("/"):
        for locale, words in {"fr": "il y a 3 heures", "de": "vor 3 Stunden", "es": "hace 3 horas"}.items():
            with force_locale(locale):
                assert formats.ago(clock.utcnow() - timedelta(hours=3)) == words


def test_outside_of_a_request_the_installation_decides(here: Site) -> None:
    with here.app.app_context():
        assert formats.moment(AT) == "Tue 3 Nov 2026, 09:10"
        assert access.timezone() == "Europe/Paris"


# Messages


def test_a_message_speaks_the_language_of_its_channel_and_the_zone_of_the_installation(here: Site) -> None:
    facts = {"job": "Documents", "server": "nas", "expectedAt": "2026-11-03T08:10:00Z", "source": "declared"}
    given = {"message_id": "a", "occurred_at": AT, "url": "https://v.example/1", "zone": "Europe/Paris"}
    with here.app.app_context():
        message = texts.compose("overdue", facts, language="fr-FR", **given)  # type: ignore[arg-type]
        german = texts.compose("overdue", facts, language="de", **given)  # type: ignore[arg-type]
    assert message.title == "En retard : Documents sur nas"
    assert "Attendue : mar. 3 nov. 2026, 09:10\nCette heure a été annoncée par Duplicati" in message.body
    assert "Toutes les heures sont dans le fuseau Europe/Paris." in message.body
    assert not re.search("[\u202f\u00a0]", message.title + message.body)
    assert german.title == "Überfällig: Documents auf nas"


# Every page


VOID = {"input", "br", "img", "link", "meta", "hr", "option"}


class Shown(HTMLParser):
    """What a page says: its texts and spoken attributes, without code."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()
        self._silent = 0
        self._foreign: list[str] = []  # elements within one that says it speaks another language

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("code", "pre", "script", "style", "textarea")
        if tag not in VOID and (self._foreign or (tag != "html" and dict(attributes).get("lang") == "en")):
            self._foreign.append(tag)
        for key, value in attributes:
            if key in ("aria-label", "title", "placeholder", "alt") or key.startswith("data-"):
                self._say(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("code", "pre", "script", "style", "textarea")
        if self._foreign:
            self._foreign.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent and not self._foreign:
            self._say(data)

    def _say(self, text: str) -> None:
        self.said.add(" ".join(text.split()))


def _looks_the_same(english: str, french: set[str]) -> bool:
    """But for a value that stands where a French mark has its space, such as `Source : 2 Go`."""
    begin = english.partition("%(")[0].strip()
    return english in french or any(begin and each.startswith(f"{begin}:") for each in french)


def english_only() -> re.Pattern[str]:
    """Whatever the catalogue says otherwise in French."""
    found = set()
    for message in catalogues.read("fr"):
        sources = [message.id] if isinstance(message.id, str) else list(message.id or ())
        spoken = {" ".join(each.split()).replace(" :", ":") for each in forms(message)}
        found |= {each for each in sources if each and not _looks_the_same(each, spoken)}
    for message in catalogues.read("fr"):  # such as a French word that is English for something else
        found -= set(forms(message))
    patterns = [re.sub(r"%\\\(\w+\\\)[sd]", ".+", re.escape(each)) for each in found]
    # A sentence that is all values would be found in everything.
    return re.compile(
        "|".join(each for each in patterns if re.search(r"[A-Za-z]{3}", each.replace(".+", "")))
    )


def pages(here: Site) -> Iterator[str]:
    for rule in here.app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint != "static" and "/api/" not in rule.rule:
            yield re.sub(r"<(?:[^:<>]*:)?(\w+)>", lambda found: FILLED.get(found[1], "1"), rule.rule)


def fill(here: Site) -> None:
    furnish(here)
    with here.database.writing() as rows:
        for state in ("overdue", "failed", "late", "new", "paused", "ok"):
            factories.add_job(rows, f"job-{state}", state, why=factories.why(state))
        job = rows.get_one(Job, 1)
        factories.add_schedule(rows, job)
        alert = factories.add_alert(rows, job)
        channel = rows.scalars(select(Channel)).first()
        assert channel is not None
        factories.add_delivery(rows, alert, channel, "pending", attempts=2, next_attempt_at=clock.utcnow())
        factories.add_check(rows)


def test_no_page_in_french_says_a_sentence_in_english(here: Site, admin: LoggedIn) -> None:
    fill(here)
    english, seen, wrong = english_only(), 0, []
    for path in [*pages(here), "/nowhere", "/jobs/2", "/jobs/3", "/jobs/4"]:
        answer = (here.stranger() if path == "/login" else admin).get(path, headers=FRENCH)
        if answer.mimetype != "text/html" or answer.status_code not in (200, 404):
            continue
        shown, seen = Shown(), seen + 1
        shown.feed(answer.text)
        assert language_of(answer) == "fr-FR", path
        wrong += [f"{path}: {each}" for each in shown.said if english.fullmatch(each)]
    assert wrong == []
    assert seen >= 11


def test_the_search_for_english_finds_it(here: Site, admin: LoggedIn) -> None:
    shown = Shown()
    shown.feed(admin.get("/").text)
    assert [each for each in shown.said if english_only().fullmatch(each)] != []
