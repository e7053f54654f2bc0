"""The catalogue: each service builds the address that the Apprise library reads as that service."""

from __future__ import annotations

from collections.abc import Iterator

import apprise
import pytest
from flask import Flask
from flask_babel import Babel

from app.notify import ConfigError, catalogue
from app.notify.catalogue import GROUPS, SERVICES
from tests.factories import CONFIGS

# Every field with characters that mean something in an address where the service allows them.
FILLED: dict[str, tuple[str, dict[str, str]]] = {
    "home-assistant": (
        "NotifyHomeAssistant",
        {"server": "https://ha.example.org:8123", "token": "eyJ0.a-b_c/d?e#f&g=h@i:j%k ü"},
    ),
    "slack": (
        "NotifySlack",
        {"webhook": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk"},
    ),
    "discord": (
        "NotifyDiscord",
        {"webhook": "https://discord.com/api/webhooks/4174216298/JHMH-I8q_Be7bk2Zw"},
    ),
    "telegram": (
        "NotifyTelegram",
        {"token": "123456789:abcdefg_hijklm-nop", "chats": "-1001234, @channel, 5500"},
    ),
    "teams": (
        "NotifyWorkflows",
        {
            "webhook": "https://prod-12.westeurope.logic.azure.com:443/workflows/643e69f83c8944/triggers/manual"
            "/paths/invoke?api-version=2016-06-01&sig=KODuebWbDGYFr0z0eu"
        },
    ),
    "google-chat": (
        "NotifyGoogleChat",
        {"webhook": "https://chat.googleapis.com/v1/spaces/AAAAb/messages?key=AIza-b_c&token=abc%3D"},
    ),
    "matrix": (
        "NotifyMatrix",
        {
            "server": "https://matrix.example.org:8448",
            "token": "syt_a/b@c:d",
            "rooms": "!room:example.org, #backups:example.org",
        },
    ),
    "mattermost": (
        "NotifyMattermost",
        {"webhook": "https://chat.example.org:8443/sub/hooks/3ccdd1134747223"},
    ),
    "rocket-chat": ("NotifyRocketChat", {"webhook": "http://127.0.0.1:3000/hooks/abcdef/ghijkl"}),
    "gotify": ("NotifyGotify", {"place": "http://127.0.0.1:8080/sub/path", "token": "AbCd.EfGh-IjKlMnO"}),
    "pushover": (
        "NotifyPushover",
        {
            "user": "uQiRzpo4DXghDmr9QzzfQu27cmVRsG",
            "token": "azGDORePK8gMaC0QOYAMyEEuzJnyUi",
            "devices": "phone, tablet",
        },
    ),
    "pushbullet": ("NotifyPushBullet", {"token": "o.abcdefghijklmnop/q"}),
    "signal": (
        "NotifySignalAPI",
        {
            "server": "https://signal.example.org",
            "sender": "+4915112345678",
            "recipients": "+4915112345679, +4915112345670",
        },
    ),
    "twilio": (
        "NotifyTwilio",
        {
            "account": "AC1234567890abcdef1234567890abcdef",
            "token": "0123456789abcdef",
            "sender": "+15551234567",
            "recipients": "+15551234568, +15551234569",
        },
    ),
    "pagerduty": ("NotifyPagerDuty", {"integration": "in/te?g", "key": "a@b:c", "region": "eu"}),
}
THROUGH_APPRISE = [each.name for each in SERVICES.values() if each.scheme]


@pytest.fixture(autouse=True)
def context() -> Iterator[None]:
    app = Flask("texts")
    Babel(app)
    with app.app_context():
        yield


def test_every_service_is_tried_here_and_has_a_group_and_help() -> None:
    assert set(FILLED) == set(THROUGH_APPRISE)
    assert len(SERVICES) >= 17
    for each in SERVICES.values():
        assert each.group in GROUPS or each.name == catalogue.OTHER
        assert str(each.help), each.name
        assert each.fields, each.name


def test_services_of_one_kind_come_before_any_other_of_it() -> None:
    assert {each.kind for each in SERVICES.values()} == {"email", "ntfy", "webhook", "apprise"}


@pytest.mark.parametrize("name", THROUGH_APPRISE)
def test_the_address_is_read_as_the_right_service(name: str) -> None:
    expected, values = FILLED[name]
    config = catalogue.check(SERVICES[name], values)
    service = apprise.Apprise.instantiate(config["urls"])
    assert type(service).__name__ == expected
    # What the library itself writes it as leads to the same service with the same parts.
    again = apprise.Apprise.instantiate(service.url())
    assert again.url() == service.url()


@pytest.mark.parametrize("name", THROUGH_APPRISE)
def test_what_was_entered_is_read_back_from_the_address(name: str) -> None:
    _expected, values = FILLED[name]
    config = catalogue.check(SERVICES[name], values)
    found, read = catalogue.service_of("apprise", config)
    assert found.name == name
    assert read == values
    assert catalogue.check(found, read) == config


def _library(name: str) -> object:
    return apprise.Apprise.instantiate(catalogue.check(SERVICES[name], FILLED[name][1])["urls"])


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("home-assistant", "accesstoken", "eyJ0.a-b_c/d?e#f&g=h@i:j%k ü"),
        ("home-assistant", "secure", True),
        ("telegram", "bot_token", "123456789:abcdefg_hijklm-nop"),
        ("teams", "workflow", "643e69f83c8944"),
        ("teams", "signature", "KODuebWbDGYFr0z0eu"),
        ("google-chat", "webhook_key", "AIza-b_c"),
        ("google-chat", "webhook_token", "abc="),
        ("matrix", "port", 8448),
        ("mattermost", "fullpath", "/sub"),
        ("mattermost", "token", "3ccdd1134747223"),
        ("rocket-chat", "webhook", "abcdef/ghijkl"),
        ("rocket-chat", "secure", False),
        ("gotify", "token", "AbCd.EfGh-IjKlMnO"),
        ("gotify", "fullpath", "/sub/path/"),
        ("pushover", "user_key", "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"),
        ("pushbullet", "accesstoken", "o.abcdefghijklmnop/q"),
        ("signal", "source", "+4915112345678"),
        ("twilio", "auth_token", "0123456789abcdef"),
        ("twilio", "source", "+15551234567"),
        ("pagerduty", "integration_key", "in/te?g"),
        ("pagerduty", "apikey", "a@b:c"),
        ("pagerduty", "region_name", "eu"),
    ],
)
def test_the_library_finds_each_part_as_it_was_entered(name: str, attribute: str, value: object) -> None:
    assert getattr(_library(name), attribute) == value


def test_a_teams_address_of_power_automate_keeps_its_way() -> None:
    webhook = (
        "https://default1.de.environment.api.powerplatform.com:443/powerautomate/automations/direct/cu/13"
        "/workflows/643e69f8/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers&sv=1.0&sig=KO-ueb_bDG"
    )
    config = catalogue.check(SERVICES["teams"], {"webhook": webhook})
    service = apprise.Apprise.instantiate(config["urls"])
    assert (service.power_automate, service.routing_id, service.signature) == (True, "13", "KO-ueb_bDG")
    _found, values = catalogue.service_of("apprise", config)
    assert "/direct/cu/13/workflows/643e69f8/" in values["webhook"]


@pytest.mark.parametrize("name", THROUGH_APPRISE)
def test_where_a_channel_goes_is_told_without_its_secrets(name: str) -> None:
    _expected, values = FILLED[name]
    config = catalogue.check(SERVICES[name], values)
    told = catalogue.where("apprise", config)
    assert told.startswith(str(SERVICES[name].label))
    for each in SERVICES[name].fields:
        assert (values[each.name] in told) is (not each.secret), each.name


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("email", CONFIGS["email"], "e-mail to o…@b.example through 127.0.0.1:9"),
        ("ntfy", CONFIGS["ntfy"], "ntfy 127.0.0.1:9/…"),
        ("apprise", {"urls": "signal://127.0.0.1:8080/%2B4915112345678/%2B33612345678"}, "+49…78, +33…78"),
        ("apprise", {"urls": "mastodon://secret@example.org"}, "Apprise mastodon://****"),
        ("email", {}, "?"),
        ("gone", {}, "?"),
    ],
)
def test_a_viewer_is_not_told_whose_address_it_is(kind: str, config: dict[str, object], told: str) -> None:
    assert catalogue.where(kind, {"urls": "", **config}, is_veiled=True).endswith(told)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("slack", "webhook", "https://hooks.slack.com/"),
        ("slack", "webhook", "https://evil.example/services/T1/B1/x"),
        ("discord", "webhook", "https://discord.com/api/webhooks/abc/def"),
        ("gotify", "place", "gotify.example.org"),
        ("gotify", "place", "https://user:pass@gotify.example.org"),
        ("matrix", "server", "https://matrix.example.org/path"),
        ("signal", "recipients", ""),
        ("pagerduty", "region", "mars"),
        ("gotify", "token", "  "),
    ],
)
def test_what_cannot_be_used_is_blamed_on_its_field(name: str, field: str, value: str) -> None:
    with pytest.raises(ConfigError) as problem:
        catalogue.check(SERVICES[name], {**FILLED[name][1], field: value})
    assert problem.value.field == field


def test_values_that_the_library_refuses_are_blamed_on_the_form_not_on_an_address() -> None:
    with pytest.raises(ConfigError) as problem:
        catalogue.check(SERVICES["telegram"], {"token": "no token at all", "chats": "12"})
    assert problem.value.field == "token"


@pytest.mark.parametrize(
    "urls",
    [
        "slack://bot-token/#channel",
        "gotify://host/token\ndiscord://1/2",
        "tgram://a/b/?silent=yes",
        "json://x",
    ],
)
def test_an_address_that_no_form_would_have_made_is_edited_as_an_address(urls: str) -> None:
    service, values = catalogue.service_of("apprise", {"urls": urls})
    assert service.name == catalogue.OTHER
    assert values == {"urls": urls}
