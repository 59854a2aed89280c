"""Commands that take definitions in and give them out: import, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.app import EXIT_PROBLEM, EXIT_USAGE, app, print_json, say
from orchestrator.cli.arguments import AsJson, Home, Include, Name, read_settings
from orchestrator.cli.executions import is_unused
from orchestrator.cli.render import clean
from orchestrator.errors import DefinitionError, IntegrationNotFound, InvalidValue
from orchestrator.model.definition_writing import FileFormat

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.model.integration import IntegrationVersion
    from orchestrator.service.imports import Imported
    from orchestrator.service.submit import Place

Project = Annotated[str, typer.Option("--project", metavar="P", help="Of which project.")]
Location = Annotated[str, typer.Option("--location", metavar="L", help="Where in the project.")]
_SUFFIXES: Final = (".json", ".yaml", ".yml")
_SOURCES: Final = "src"  # where integrationcli puts definitions


@app.command("import")
def import_definitions(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A definition, or a folder of them.", show_default=False)
    ],
    *,
    publish: Annotated[bool, typer.Option("--publish", help="Publish what can run.")] = False,
    name: Name = "",
    project: Project = "default",
    location: Location = "local",
    as_json: AsJson = False,
    include: Include = None,
    home: Home = None,
) -> None:
    """Take in definitions, also exports of Application Integration: as drafts, or published.

    Exit code 0 if all can run, 1 if one cannot run yet, 2 if one cannot be read; then nothing is imported.
    """
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home, include), say=say, place=_place(project, location)) as orchestrator:
        versions = _read_all(path, name, orchestrator)
        imported = [
            (file, orchestrator.versions.import_definition(version, publishes=publish)) for file, version in versions
        ]
    if as_json:
        print_json({"imported": [_to_document(file, each) for file, each in imported]})
    for file, each in imported:
        _report(file, each, as_json=as_json)
    if not all(each.can_run for _, each in imported):
        raise typer.Exit(EXIT_PROBLEM)


def _place(project: str, location: str) -> Place:
    from orchestrator.service.submit import Place

    if not all(1 <= len(each) <= 64 and "/" not in each for each in (project, location)):
        raise InvalidValue("--project, --location", repr((project, location))[:100], "1 to 64 characters, no slash")
    return Place(project=project, location=location)


# -- reading -------------------------------------------------------------------------------------------------------


def _read_all(path: Path, name: str, orchestrator: Orchestrator) -> list[tuple[Path, IntegrationVersion]]:
    """Every definition, before the first one is stored; whatever cannot be read is told, and ends the command."""
    if name and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: its definitions have names of their own", param_hint="--name")
    found, is_refused = [], False
    for file in _files(path) if path.is_dir() else [path]:
        try:
            found.append((file, _read(file, name, orchestrator, is_one_of_many=path.is_dir())))
        except DefinitionError as error:
            say(f"error: {error}")
            is_refused = True
    names = [version.name for _, version in found]
    for twice in sorted({each for each in names if names.count(each) > 1}):
        files = ", ".join(str(file) for file, version in found if version.name == twice)
        say(f"error: {clean(files)}: all of them are integration {clean(twice)!r}; import one")
        is_refused = True
    if is_refused:
        raise typer.Exit(EXIT_USAGE)
    return found


def _files(folder: Path) -> list[Path]:
    """The files of definitions in a folder, or in its ``src``."""
    sources = folder / _SOURCES
    if sources.is_dir():
        others = sorted(each.name for each in folder.iterdir() if each != sources and not each.name.startswith("."))
        if others:
            say(f"left out: {', '.join(map(clean, others))}; only what is in {_SOURCES} is imported")
        folder = sources
    files = [each for each in sorted(folder.iterdir()) if each.suffix in _SUFFIXES]
    if not files:
        raise InvalidValue(str(folder), "no definition", f"files that end in {', '.join(_SUFFIXES)}")
    return files


def _read(file: Path, name: str, orchestrator: Orchestrator, *, is_one_of_many: bool) -> IntegrationVersion:
    """A definition of many is named by itself or its file: copies of one another have triggers of the same names."""
    from orchestrator.model.definition import parse_integration
    from orchestrator.wire.google.definitions import unknown_names
    from orchestrator.wire.google.version_documents import portable

    version = orchestrator.read(file, name=name)
    for line in unknown_names(version.document):
        say(f"warning: {file}: {clean(line)}")
    chosen = file.stem if is_one_of_many and not version.document.get("name") else version.name
    return parse_integration(portable(version.document, chosen), source=str(file))


# -- telling -------------------------------------------------------------------------------------------------------


def _report(file: Path, each: Imported, *, as_json: bool) -> None:
    """What became of a file; for people alone if a program gets it as a document."""
    tell = say if as_json else typer.echo
    became = "published" if each.state == "ACTIVE" else f"draft {each.version_id}"
    tell(f"{clean(str(file))}: integration {clean(each.integration)!r}: {became}")
    for name, numbers in each.missing.items():
        tasks = f"task{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
        tell(f"  task type {clean(name)!r} is not known here: {tasks}; register it with --include MODULE")
    for problem in each.problems:
        tell(f"  {clean(problem)}")
    for warning in each.warnings:
        say(f"warning: {clean(each.integration)}: {clean(warning)}")


def _to_document(file: Path, each: Imported) -> dict[str, object]:
    return {
        "file": str(file),
        "integration": each.integration,
        "version": each.version_id,
        "state": each.state,
        "canRun": each.can_run,
        "missingTaskTypes": {name: [str(number) for number in numbers] for name, numbers in each.missing.items()},
        "problems": list(each.problems),
        "warnings": list(each.warnings),
    }


# -- export --------------------------------------------------------------------------------------------------------


@app.command("export")
def export_definition(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An integration.", show_default=False)],
    *,
    version: Annotated[
        str | None, typer.Option("--version", metavar="ID", help="Which version; default: the published one.")
    ] = None,
    file_format: Annotated[FileFormat, typer.Option("--format", help="How it is written.")] = FileFormat.JSON,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE|DIR", help="Where to; default: standard output.")
    ] = None,
    project: Project = "default",
    location: Location = "local",
    home: Home = None,
) -> None:
    """Write a definition in the format of Application Integration; importing it gives the same one."""
    from orchestrator.client import Orchestrator
    from orchestrator.model.definition_writing import to_text
    from orchestrator.wire.google.version_documents import portable

    settings = read_settings(home)
    if is_unused(settings):
        raise IntegrationNotFound(name)
    with Orchestrator(settings, say=say, place=_place(project, location)) as orchestrator:
        if version is None:
            document = orchestrator.published(name).document
        else:
            document = orchestrator.versions.get(version, integration=name).document
    text = to_text(portable(document, name), file_format)
    if output is None:
        typer.echo(text, nl=False)
        return
    file = output / f"{name}.{file_format}" if output.is_dir() else output
    file.write_text(text, encoding="utf-8")
    say(f"{clean(name)} is in {clean(str(file))}")
