"""Channels: where messages go, how each fares, and what can be done about it."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import access, channel_forms, channels, clock, fallbacks, resend, trace, trial
from app.channel_forms import ChannelForm
from app.db import database
from app.models import Channel
from app.notify import catalogue
from app.notify.catalogue import SERVICES
from app.notify.channel import Config
from app.notify.service import Service

_ID = "<int(max=9223372036854775807):channel_id>"

bp = Blueprint("channels", __name__, url_prefix="/settings/channels")


@bp.get("")
@access.viewer
def index() -> str:
    with database().reading() as rows:
        states = resend.overview(rows, clock.utcnow())
    return render_template("channels/index.html", channels=states, about=_about, language_name=_language)


def _about(channel: Channel | resend.ChannelState) -> tuple[Service, str]:
    """The service of a channel and where it leads; a viewer is not told whose number or address it is."""
    is_veiled = not access.identity().is_administrator
    service, _values = catalogue.service_of(channel.kind, channel.config)
    return service, catalogue.where(channel.kind, channel.config, is_veiled=is_veiled)


def _language(language: str) -> str:
    return channel_forms.language_name(language)


@bp.get("/new")
@access.administrator
def choose() -> str:
    grouped = {
        label: [each for each in SERVICES.values() if each.group == group]
        for group, label in catalogue.GROUPS.items()
    }
    return render_template("channels/choose.html", groups=grouped, other=SERVICES[catalogue.OTHER])


@bp.get("/new/<service_name>")
@access.administrator
def add_page(service_name: str) -> str:
    service = SERVICES.get(service_name) or abort(404)
    with database().reading() as rows:
        form = channel_forms.form_for(service, None, channel_forms.other_channels(rows, None))
    return _form_page(form, None)


@bp.post("/new/<service_name>")
@access.administrator
def add(service_name: str) -> ResponseReturnValue:
    service = SERVICES.get(service_name) or abort(404)
    with database().reading() as rows:
        form = channel_forms.form_for(service, None, channel_forms.other_channels(rows, None))
    return _save(form, None)


@bp.get(f"/{_ID}/edit")
@access.administrator
def edit_page(channel_id: int) -> str:
    channel, form = _edited(channel_id)
    return _form_page(form, channel)


@bp.post(f"/{_ID}/edit")
@access.administrator
def edit(channel_id: int) -> ResponseReturnValue:
    channel, form = _edited(channel_id)
    return _save(form, channel)


def _edited(channel_id: int) -> tuple[Channel, ChannelForm]:
    with database().reading() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        service, _values = catalogue.service_of(channel.kind, channel.config)
        return channel, channel_forms.form_for(service, channel, channel_forms.other_channels(rows, channel))


def _form_page(form: ChannelForm, channel: Channel | None) -> str:
    stored = channel_forms.stored_values(form.service, channel)
    return render_template(
        "channels/form.html", form=form, channel=channel, service=form.service, stored=stored
    )


def _save(form: ChannelForm, before: Channel | None) -> ResponseReturnValue:
    config = None
    # In this order: both say beside their fields what is wrong, and a form is seldom wrong in one place only.
    if form.validate():
        config = form.config(channel_forms.stored_values(form.service, before))
    channel_id = _store(form, before, config) if config is not None else None
    if channel_id is None:
        return _form_page(form, before), 400
    if not form.send_test.data:
        flash(_("%(name)s is saved. No test message was sent.", name=form.name.data), "success")
        return redirect(url_for("channels.index"))
    return _after_saving(channel_id, form.name.data)


def _after_saving(channel_id: int, name: str) -> ResponseReturnValue:
    outcome = _test(channel_id, name)
    if outcome is None or outcome.arrived:
        told = outcome.detail if outcome else ""
        flash(_("%(name)s is saved. The test message arrived: %(told)s", name=name, told=told), "success")
        return redirect(url_for("channels.index"))
    flash(
        _(
            "%(name)s is saved, but the test message did not arrive: %(reason)s",
            name=name,
            reason=outcome.detail,
        ),
        "error",
    )
    return redirect(url_for("channels.edit_page", channel_id=channel_id))


def _store(form: ChannelForm, before: Channel | None, config: Config) -> int | None:
    """The id of the channel; None when the form says what stands in the way."""
    try:
        with database().writing() as rows:
            return _write(rows, form, before, config)
    except IntegrityError:
        form.name.errors = [_("There is a channel of this name already.")]
    except fallbacks.FallbackCycle as problem:
        form.fallback.errors = [_("A channel can't stand in for itself: %(way)s.", way=problem)]
    return None


def _write(rows: Session, form: ChannelForm, before: Channel | None, config: Config) -> int:
    if before is None:
        channel = Channel(
            kind=form.service.kind, name=form.name.data, config=config, created_at=clock.utcnow()
        )
        rows.add(channel)
        old = None
    else:
        channel = rows.get(Channel, before.id) or abort(404)
        old = channel_forms.summary(rows, channel)
    secrets = channel_forms.changed_secrets(
        form.service, channel_forms.stored_values(form.service, before), config
    )
    channel_forms.fill(rows, channel, form, config)
    rows.flush()
    new = channel_forms.summary(rows, channel)
    if old is not None and secrets:
        new += f"; changed: {', '.join(secrets)}"
    trace.note(rows, "channel changed" if before else "channel added", channel.name, before=old, after=new)
    return channel.id


@bp.get(f"/{_ID}")
@access.viewer
def show(channel_id: int) -> str:
    with database().reading() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        fallback = rows.get(Channel, channel.fallback_id) if channel.fallback_id else None
        deliveries = channels.recent(rows, channel_id)
        waiting = channels.waiting_count(rows, channel_id)
    service, where = _about(channel)
    return render_template(
        "channels/show.html",
        channel=channel,
        service=service,
        where=where,
        fallback=fallback,
        deliveries=deliveries,
        waiting=waiting,
        language_name=_language,
    )


@bp.post(f"/{_ID}/test")
@access.administrator
def test(channel_id: int) -> ResponseReturnValue:
    with database().reading() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
    outcome = _test(channel_id, channel.name) or abort(404)
    if outcome.arrived:
        told = _("%(name)s works. The test message arrived: %(told)s", name=channel.name, told=outcome.detail)
    else:
        told = _(
            "The test message through %(name)s did not arrive: %(reason)s",
            name=channel.name,
            reason=outcome.detail,
        )
    flash(told, "success" if outcome.arrived else "error")
    return _back(channel_id)


def _test(channel_id: int, name: str) -> trial.Outcome | None:
    outcome = trial.run(database(), access.settings(), channel_id, clock.utcnow())
    if outcome is not None:
        with database().writing() as rows:
            trace.note(rows, "channel tested", name, after=outcome.told)
    return outcome


def _back(channel_id: int) -> ResponseReturnValue:
    """To the page the button was on; both have it."""
    if request.form.get("from") == "show":
        return redirect(url_for("channels.show", channel_id=channel_id))
    return redirect(url_for("channels.index"))


@bp.post(f"/{_ID}/switch")
@access.administrator
def switch(channel_id: int) -> ResponseReturnValue:
    enabled = {"1": True, "0": False}.get(request.form.get("enabled", ""))
    if enabled is None:
        abort(400, _("Expected: enabled is 1 or 0."))
    with database().writing() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        name, was_enabled = channel.name, channel.enabled
        channel.enabled = enabled
        if enabled != was_enabled:
            trace.note(rows, "channel enabled" if enabled else "channel disabled", name)
    if enabled:
        flash(_("%(name)s is on; what has waited is sent first.", name=name), "success")
    else:
        told = _("%(name)s is off: new messages don't go to it, and what it has not sent waits.", name=name)
        flash(told, "success")
    return _back(channel_id)


@bp.get(f"/{_ID}/remove")
@access.administrator
def confirm_remove(channel_id: int) -> str:
    with database().reading() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        waiting = channels.waiting_count(rows, channel_id)
        served = select(Channel.name).where(Channel.fallback_id == channel_id).order_by(Channel.name)
        helped = list(rows.scalars(served))
    return render_template("channels/remove.html", channel=channel, waiting=waiting, helped=helped)


@bp.post(f"/{_ID}/remove")
@access.administrator
def remove(channel_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        name, before = channel.name, channel_forms.summary(rows, channel)
        waiting = channels.waiting_count(rows, channel_id)
        trace.note(rows, "channel removed", name, before=before, after=f"{waiting} waiting messages dropped")
        rows.delete(channel)
    flash(_("%(name)s is removed.", name=name), "success")
    return redirect(url_for("channels.index"))


@bp.post(f"/{_ID}/retry")
@access.administrator
def retry(channel_id: int) -> ResponseReturnValue:
    now = clock.utcnow()
    with database().writing() as rows:
        channel = rows.get(Channel, channel_id) or abort(404)
        name, resent = channel.name, resend.send_again(rows, channel_id, now)
        trace.note(
            rows, "channel retried", name, after=f"{resent.given_up} given up, {resent.waiting} waiting"
        )
    number = resent.given_up + resent.waiting
    told = ngettext("%(num)s message is sent again.", "%(num)s messages are sent again.", number)
    flash(
        f"{name}: {told}" if number else _("%(name)s: nothing is left to send again.", name=name), "success"
    )
    return _back(channel_id)
