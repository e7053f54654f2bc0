"""The rules of the house, kept by machine: floors, sizes, guards, and nothing undocumented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from flask import Flask

from app.cron import control
from app.navigation import SETTINGS_PAGES
from app.settings import SETTINGS
from tests.conftest import CHECKOUT
from tests.web import Site, site

APP = CHECKOUT / "app"
FILES = sorted(each for each in APP.rglob("*.py") if "migrations" not in each.parts)
LONGEST_FILE = 350
LONGEST_FUNCTION = 50

# The rooms of each floor. A room is a module of app/, or a folder with everything in it.
ROOMS: dict[str, set[str]] = {
    "pure": {
        "clock",
        "recurrence",
        "refusal",
        "repeat",
        "expectation",
        "forecast",
        "guess",
        "deadline",
        "overdue",
        "backtest",
        "reports",
        "badge",
        "timeline",
        "thinning",
        "figures",
        "day_map",
        "version",
    },
    "world": {
        "settings",
        "setting_checks",
        "setting_table",
        "interval",
        "interval_exchange",
        "durable_file",
        "ownership",
        "notify",
        "cron_client",
        "cron_line",
        "log_lines",
        "web_server",
        "allocation",
        "apart",
    },
    "storage": {
        "extensions",
        "db",
        "group_commit",
        "many_rows",
        "prepared",
        "sqlite",
        "models",
        "schema",
        "together",
    },
    "work": {
        "record",
        "checks",
        "clearing",
        "delivery",
        "channels",
        "fallbacks",
        "resend",
        "traffic",
        "ledger",
        "trial",
        "message_templates",
        "audit",
        "alerts",
        "jobs",
        "known_job",
        "report_rows",
        "job_history",
        "totals",
        "summary",
        "overview",
        "history",
        "first_steps",
        "lease",
        "retention",
        "holdings",
        "diagnosis",
        "publication",
        "accounts",
        "throttle",
        "installation",
        "hindsight",
        "maintenance",
        "downtime",
        "check_result",
        "routing",
        "ordering",
        "outbox",
        "archive",
        "database_copy",
        "spool",
        "quarantine",
        "stored_settings",
        "task_runs",
        "upload",
        "sessions",
        "key_rotation",
        "first_report",
        "audit_search",
        "demo",
    },
    # What the doors share: whoever enters, what they are told, and how it looks.
    "hall": {
        "access",
        "keys",
        "failures",
        "formats",
        "languages",
        "navigation",
        "presentation",
        "sentences",
        "audit_words",
        "quarantine_words",
        "welcome",
        "channel_forms",
        "job_forms",
        "schedule_forms",
        "schedule_page",
        "schedule_sentences",
        "job_page",
        "job_words",
        "timeline_picture",
        "calendar_picture",
        "report_words",
        "json_body",
        "maintenance_forms",
        "interval_saving",
        "presence",
        "public_sentences",
        "run_sentences",
        "service_health",
        "setting_forms",
        "watch",
        "wording_forms",
        "passwords",
        "trace",
        "account_forms",
        "key_forms",
        "audit_csv",
        "duplicati_options",
        "glance",
        "pictures",
    },
    "doors": {"blueprints", "cron", "commands"},
    "assembly": {"app", "assembly", "core"},
}
MAY_IMPORT: dict[str, set[str]] = {
    "pure": {"pure"},
    "world": {"pure", "world"},
    "storage": {"pure", "storage"},
    "work": {"pure", "world", "storage", "work"},
    "hall": {"pure", "world", "storage", "work", "hall"},
    "doors": {"pure", "world", "storage", "work", "hall"},
    "assembly": set(ROOMS),
}
NEVER: dict[str, set[str]] = {
    "pure": {"flask", "flask_babel", "sqlalchemy", "requests", "urllib3", "pathlib", "os", "io", "tempfile"},
    "world": {"flask", "flask_wtf", "sqlalchemy"},
    "storage": {"requests", "urllib3"},
    "work": {"flask_wtf", "requests", "urllib3", "app.clock"},
    "hall": {"requests", "urllib3"},
    "doors": {"urllib3"},
    "assembly": set(),
}


def module_of(file: Path) -> str:
    parts = file.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def floor_of(module: str) -> str:
    found = [floor for floor, rooms in ROOMS.items() if room_of(module) in rooms]
    assert len(found) == 1, f"{module} belongs to no floor: put its room into ROOMS"
    return found[0]


def imports_of(file: Path) -> set[str]:
    """Every module a file imports, wherever in the file: app's own by their full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where a name comes from"
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found


GRAPH = {module: imports_of(file) for module, file in MODULES.items()}


def own(module: str) -> set[str]:
    return {each for each in GRAPH[module] if each in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_the_floors_below_only(module: str) -> None:
    floor = floor_of(module)
    for each in own(module):
        same_room = room_of(each) == room_of(module)
        assert same_room or floor_of(each) in MAY_IMPORT[floor], f"{module} ({floor}) imports {each}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_away_from_what_its_floor_never_touches(module: str) -> None:
    for never in NEVER[floor_of(module)]:
        for each in GRAPH[module]:
            assert each != never and not each.startswith(f"{never}."), f"{module} imports {each}"


def test_the_work_knows_of_no_request() -> None:
    """Of Flask it may name the application, to hand a context to its own threads; nothing else."""
    for module, file in MODULES.items():
        if floor_of(module) == "work":
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "flask":
                    assert [each.name for each in node.names] == ["Flask"], module
                assert not (isinstance(node, ast.Import) and node.names[0].name == "flask"), module


def test_no_room_is_named_that_is_not_there() -> None:
    assert set().union(*ROOMS.values()) == {room_of(each) for each in MODULES}


def test_one_blueprint_knows_nothing_of_another() -> None:
    for module in MODULES:
        if module.startswith("app.blueprints."):
            assert not {each for each in own(module) if each.startswith("app.blueprints")}, module


def test_imports_never_go_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path, module])
        if module not in done:
            for each in own(module):
                visit(each, (*path, module))
            done.add(module)

    for each in MODULES:
        visit(each, ())


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_small(module: str) -> None:
    file = MODULES[module]
    assert len(file.read_text().splitlines()) <= LONGEST_FILE
    for each in functions(file):
        lines = (each.end_lineno or each.lineno) - each.lineno + 1
        assert lines <= LONGEST_FUNCTION, f"{module}.{each.name}: {lines} lines"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_in_one_line_what_it_is(module: str) -> None:
    told = ast.get_docstring(ast.parse(MODULES[module].read_text()))
    assert told, module
    assert "\n" not in told, module


@pytest.mark.parametrize("module", MODULES)
def test_imports_stand_at_the_top(module: str) -> None:
    """But for what costs a second or much memory, and is loaded when it is needed."""
    costly = {"app.notify.apprise", "app.archive.sealing", "app.schema"}
    for function in functions(MODULES[module]):
        inner = {type(node) for node in ast.walk(function)} & {ast.Import, ast.ImportFrom}
        assert not inner or module in costly, f"{module}.{function.name}"


def catches_everything(handler: ast.ExceptHandler) -> bool:
    names = [node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)] if handler.type else []
    return handler.type is None or "Exception" in names or "BaseException" in names


def test_only_the_two_guards_catch_every_exception() -> None:
    guards = []
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler) and catches_everything(node):
                again = any(isinstance(each, ast.Raise) and each.exc is None for each in ast.walk(node))
                if not again:
                    guards.append(module)
    assert len(guards) == len(set(guards)) == 2, guards
    assert "app.delivery" in guards
    assert all(each == "app.delivery" or each.startswith("app.cron.") for each in guards)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_printed_and_nothing_is_global(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        assert not isinstance(node, ast.Global), module
        assert not (isinstance(node, ast.Name) and node.id == "print"), module


def test_only_the_clock_asks_what_time_it_is() -> None:
    asking = re.compile(r"datetime\.(utc)?now\(|date\.today\(")
    found = {module for module, file in MODULES.items() if asking.search(file.read_text())}
    assert found == {"app.clock"}


# Documents


def test_every_setting_is_in_the_table_with_its_default_and_unit() -> None:
    rows = [line for line in (CHECKOUT / "docs" / "settings.md").read_text().splitlines() if line[:1] == "|"]
    for each in SETTINGS:
        found = [row for row in rows if f"`{each.variable}`" in row.split("|")[1]]
        assert len(found) == 1, f"{each.variable}: {len(found)} rows in docs/settings.md"
        assert each.default in found[0], f"{each.variable}: its default {each.default} is not in its row"
        assert each.unit in found[0], f"{each.variable}: its unit {each.unit} is not in its row"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("rules")) as made:
        yield made


def routes(app: Flask) -> set[tuple[str, str]]:
    """Method and path as OpenAPI writes it, for all but static files."""
    return {
        (method, re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def cron_routes() -> set[tuple[str, str]]:
    app = Flask("cron", static_folder=None)
    app.register_blueprint(control.bp)
    return routes(app)


METHODS = {"get", "post", "put", "delete", "patch"}


@pytest.fixture(scope="module")
def described() -> dict[tuple[str, str], dict[str, object]]:
    document = yaml.safe_load((CHECKOUT / "docs" / "openapi.yaml").read_text())
    assert document["openapi"].startswith("3.1")
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_route_is_described_and_nothing_else(
    here: Site, described: dict[tuple[str, str], dict[str, object]]
) -> None:
    assert set(described) == routes(here.app) | cron_routes()


def test_every_entry_of_the_settings_menu_leads_to_a_page(here: Site) -> None:
    assert {each.endpoint for each in SETTINGS_PAGES} <= set(here.app.view_functions)


def test_every_described_call_says_what_it_does_and_answers(
    described: dict[tuple[str, str], dict[str, object]],
) -> None:
    names = [str(operation["operationId"]) for operation in described.values()]
    assert len(names) == len(set(names))
    for call, operation in described.items():
        assert operation["summary"], call
        assert operation["responses"], call
        assert operation["tags"], call


def test_every_reference_of_the_description_leads_somewhere() -> None:
    text = (CHECKOUT / "docs" / "openapi.yaml").read_text()
    document = yaml.safe_load(text)
    for target in re.findall(r"\$ref: ['\"]#/(\S+?)['\"]", text):
        found = document
        for part in target.split("/"):
            found = found[part]
