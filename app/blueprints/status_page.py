"""The public status page with its badges, and the settings behind them."""

from __future__ import annotations

from html import escape

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session
from wtforms import BooleanField, StringField, TextAreaField
from wtforms.validators import Length, Optional

from app import access, badge, clock, public_sentences, publication, trace, watch
from app.db import database
from app.models import Job
from app.notify.cleaning import one_line

_LARGEST_ID = 2**63 - 1
_JOB = f"<int(max={_LARGEST_ID}):job_id>"
_CACHED = "public, max-age=30"

bp = Blueprint("status_page", __name__)
bp.add_app_template_filter(public_sentences.days, "public_days")
bp.add_app_template_filter(publication.public_name)
bp.add_app_template_filter(public_sentences.state_words, "public_state")
bp.add_app_template_filter(public_sentences.day)


def _tidied(given: str | None) -> str | None:
    return one_line(given).strip() if given else given


class OptionsForm(FlaskForm):  # type: ignore[misc]
    enabled = BooleanField(_l("Show the status page to everybody who has its address"))
    title = StringField(_l("Title"), [Optional(), Length(max=80)], filters=[_tidied])
    introduction = TextAreaField(_l("Introduction"), [Optional(), Length(max=1000)])
    shows_servers = BooleanField(_l("Show the names of the servers as well"))

    def options(self) -> publication.Options:
        introduction = (self.introduction.data or "").replace("\0", "").strip()
        return publication.Options(
            self.enabled.data, self.title.data or "", introduction, self.shows_servers.data
        )


class PublishForm(FlaskForm):  # type: ignore[misc]
    public_name = StringField(
        _l("Public name"), [Optional(), Length(max=publication.LONGEST_NAME)], filters=[_tidied]
    )


# For everybody


@bp.get("/status")
@access.public
def show() -> ResponseReturnValue:
    now, after = clock.utcnow(), request.args.get("after", type=int)
    with database().reading() as rows:
        chosen = _options_when_on(rows)
        if after is not None and not 0 < after <= _LARGEST_ID:
            abort(404)
        found = publication.page(rows, after)
        if after is not None and not found:
            abort(404)
        shown = found[: publication.PAGE_SIZE]
        starts = publication.day_starts(now, access.settings().timezone)
        strips = publication.strips(rows, [job.id for job in shown], starts)
        counts, checks = publication.counts(rows), watch.look(rows, now)
    page = render_template(
        "status_page/show.html",
        options=chosen,
        jobs=shown,
        strips=strips,
        starts=starts,
        following=shown[-1].id if len(found) > len(shown) else None,
        is_first=after is None,
        counts=counts,
        checks=checks,
        overall=public_sentences.overall(counts),
        overall_state=public_sentences.overall_state(counts, checks),
        doubt=public_sentences.doubt(checks),
    )
    return _for_caches(make_response(page))


def _options_when_on(rows: Session) -> publication.Options:
    """Off is answered like a page that does not exist."""
    chosen = publication.options(rows)
    return chosen if chosen.enabled else abort(404)


def _for_caches(answer: Response) -> Response:
    answer.headers["Cache-Control"] = _CACHED
    answer.vary.add("Accept-Language")
    return answer


@bp.get("/status/badge.svg")
@access.public
def badge_of_all() -> Response:
    with database().reading() as rows:
        chosen = _options_when_on(rows)
        counts, checks = publication.counts(rows), watch.look(rows, clock.utcnow())
    return _badge(chosen.title or _("Backups"), *public_sentences.badge_of_all(counts, checks))


@bp.get(f"/status/jobs/{_JOB}/badge.svg")
@access.public
def badge_of_job(job_id: int) -> Response:
    with database().reading() as rows:
        _options_when_on(rows)
        job = publication.find(rows, job_id) or abort(404)
        checks = watch.look(rows, clock.utcnow())
    return _badge(publication.public_name(job), *public_sentences.badge_of(job.state, checks))


def _badge(label: str, message: str, colour: str) -> Response:
    return _for_caches(Response(badge.render(label, message, colour), content_type="image/svg+xml"))


# For administrators


@bp.get("/settings/status-page")
@access.administrator
def edit() -> ResponseReturnValue:
    return _page()


def _page(refused: OptionsForm | None = None, refused_job: tuple[int, PublishForm] | None = None) -> str:
    after, words = request.args.get("after", type=int), request.args.get("q", "")[:100].replace("\0", "")
    with database().reading() as rows:
        chosen = publication.options(rows)
        known = after is not None and 0 < after <= _LARGEST_ID
        published = publication.page(rows, after if known else None)
        candidates = [job for job in publication.search(rows, words.strip()) if not job.is_published]
    shown = published[: publication.PAGE_SIZE]
    return render_template(
        "status_page/edit.html",
        form=refused or OptionsForm(formdata=None, obj=chosen),
        options=chosen,
        published=shown,
        following=shown[-1].id if len(published) > len(shown) else None,
        is_first=not known,
        candidates=candidates,
        words=words,
        refused_job=refused_job,
        most=publication.FOUND_AT_ONCE,
        codes=_codes(url_for("status_page.badge_of_all"), chosen.title or _("Backups")),
        job_codes={
            job.id: _codes(url_for("status_page.badge_of_job", job_id=job.id), publication.public_name(job))
            for job in shown
        },
        address=f"{_origin()}{url_for('status_page.show')}",
    )


def _origin() -> str:
    """Where people reach Veilleur; what comes before the path of a page."""
    given = access.settings().public_url
    if given:
        return given.rstrip("/").removesuffix(request.script_root)
    return request.host_url.rstrip("/")


def _codes(path: str, name: str) -> dict[str, str]:
    """What to paste into a page elsewhere; names come from outside and must stay names there."""
    picture, page = f"{_origin()}{path}", f"{_origin()}{url_for('status_page.show')}"
    words = escape(badge.tidy(name))
    plain = "".join(letter for letter in badge.tidy(name) if letter not in "[]()<>`\\|!*_")
    return {
        "Markdown": f"[![{plain}]({picture})]({page})",
        "HTML": f'<a href="{escape(page)}"><img src="{escape(picture)}" alt="{words}"></a>',
    }


@bp.post("/settings/status-page")
@access.administrator
def save() -> ResponseReturnValue:
    form = OptionsForm()
    if not form.validate():
        return _page(form), 400
    now, actor = clock.utcnow(), access.actor()
    with database().writing() as rows:
        before, after = publication.options(rows), form.options()
        publication.store(rows, after, by=actor, now=now)
        if before != after:
            _note(rows, "status page changed", "status page", _words(before), _words(after))
    flash(_("Saved. The page is public now.") if after.enabled else _("Saved. The page is off."), "success")
    return redirect(url_for("status_page.edit"))


def _words(options: publication.Options) -> str:
    servers = "with servers" if options.shows_servers else "without servers"
    return f"{'on' if options.enabled else 'off'}, {servers}, title {options.title!r}"


@bp.post(f"/settings/status-page/jobs/{_JOB}")
@access.administrator
def publish(job_id: int) -> ResponseReturnValue:
    """Put a job on the page, or give it another name there."""
    form = PublishForm()
    if not form.validate():
        return _page(refused_job=(job_id, form)), 400
    with database().writing() as rows:
        job = rows.get(Job, job_id) or abort(404)
        before = publication.public_name(job) if job.is_published else None
        publication.publish(rows, job, form.public_name.data)
        name = publication.public_name(job)
        _note(rows, "job published", f"job {job.id}: {job.name}", before, name)
    flash(_("Saved: shown as %(name)s.", name=name), "success")
    return redirect(url_for("status_page.edit"))


@bp.post(f"/settings/status-page/jobs/{_JOB}/remove")
@access.administrator
def withdraw(job_id: int) -> ResponseReturnValue:
    with database().writing() as rows:
        job = rows.get(Job, job_id) or abort(404)
        if job.is_published:
            name = publication.public_name(job)
            publication.withdraw(rows, job)
            _note(rows, "job withdrawn from the status page", f"job {job.id}: {job.name}", name, None)
    flash(_("No longer shown on the status page."), "success")
    return redirect(url_for("status_page.edit"))


def _note(rows: Session, action: str, target: str, before: str | None, after: str | None) -> None:
    trace.note(rows, action, target, before=before, after=after)
