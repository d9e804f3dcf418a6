"""What the site shows that is written elsewhere: commands, modules, examples, and the repository's own pages.

A hook of MkDocs (`mkdocs.yml`). Nothing that it makes is committed, so nothing of it can fall behind.
"""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if typing.TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "anypet"

# A page can take over a file of the repository, below the heading where this line stands.
INCLUDE = re.compile(r"^<!-- include (\S+) -->$", re.MULTILINE)
LISTED = re.compile(r"(?:-|\d+\.) ")
# Files that others link to by their place in the repository, and the pages that hold them here.
HOMES = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "src/anypet/weights/default.md": "models.md",
    "src/anypet/weights/default-lesion.md": "models.md",
    "src/anypet/weights/lesions.md": "models.md",
    "src/anypet/weights/tracer.md": "models.md",
}

# The order in which the gallery shows the examples: as one would try them.
EXAMPLES = (
    "simulated_study",
    "segment",
    "session",
    "lesions",
    "quantify",
    "dicom_out",
    "response",
    "server_client",
    "own_data",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made from the code."""
    from mkdocs.structure.files import File

    made = {"gallery.md": gallery(), "reference/commands.md": commands(), **modules()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes in included files, and leads links to files of the repository to their pages."""

    def taken_in(found: re.Match[str]) -> str:
        above = re.findall(r"^(#+) ", markdown[: found.start()], re.MULTILINE)
        return included((ROOT / found[1]).read_text(encoding="utf-8"), len(above[-1]) - 1)

    text = with_lists(INCLUDE.sub(taken_in, markdown))
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\./|\.\./)*((?:docs/|src/|[A-Z]+\.)[^)#\s]+)(#[^)\s]*)?\)", _link(up), text)


def _link(up: str) -> Any:
    def to(found: re.Match[str]) -> str:
        path = found[1]
        page = HOMES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return f"]({up}{page}{found[2] or ''})" if page else found[0]

    return to


def included(text: str, lower: int) -> str:
    """A file without its title, its headings so many levels lower; what is fenced stays as it is."""
    lines, fenced = [], False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and line.startswith("# "):
            continue
        lines.append("#" * lower + line if not fenced and line.startswith("#") else line)
    return "\n".join(lines)


def with_lists(text: str) -> str:
    """A blank line before each list that follows a paragraph: Python-Markdown, unlike others, wants one."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith("```")
        above = lines[-1] if lines else ""
        if not fenced and LISTED.match(line) and above and not re.match(r"[#\s]|```", above):
            lines += [""] if not LISTED.match(above) else []
        lines.append(line)
    return "\n".join(lines)


# -- the gallery ---------------------------------------------------------------------------------------------


def gallery() -> str:
    """Every example: what it does, how it is run, its code."""
    parts = [
        "# Gallery",
        "Small programs to copy from. They are in the folder `examples/` of the repository; CI runs every "
        "one of them, in this order. The first makes the scan that the others work on.",
    ]
    for name in EXAMPLES:
        code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        about = ast.get_docstring(ast.parse(code)) or ""
        head, _, rest = about.partition("\n")
        body = code[code.index('"""', 3) + 3 :].strip()
        parts += [f"## {name}", head, rest.strip("\n"), f"```python\n{body}\n```"]
    return "\n\n".join(parts) + "\n"


# -- the commands --------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and options, as the command line itself tells them."""
    import typer

    from anypet.cli.app import app

    root: Any = typer.main.get_command(app)
    parts = [
        "# Commands",
        "`anypet COMMAND --help` says the same. `anypet --verbose COMMAND ...` logs what the library does; "
        "exit code 2 is an error, with one line that names the file or option and the fix.",
    ]
    for path, command in walk(root, ("anypet",)):
        parts += _command(path, command)
    return "\n\n".join(parts) + "\n"


def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, with the words that call it; a group comes before its own commands."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from walk(command, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> list[str]:
    about = (command.help or "").strip().split("\n\n")
    parts = [f"{'#' * len(path)} {' '.join(path)}", *(" ".join(text.split()) for text in about)]
    if hasattr(command, "commands"):
        return parts
    hints = typing.get_type_hints(command.callback)
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    words = [_usage(p, _kind(hints[p.name])) for p in shown if p.required or _is_argument(p)]
    parts.append(f"```text\n{' '.join([*path, *words, '[OPTIONS]'])}\n```")
    rows = [
        f"| {_names(p)} | {_kind(hints[p.name])} | {_default(p)} | {_cell(p.help or '')} |" for p in shown
    ]
    if rows:
        parts.append("\n".join(["| | takes | default | |", "|---|---|---|---|", *rows]))
    return parts


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _usage(parameter: Any, kind: str) -> str:
    if not _is_argument(parameter):
        return f"{parameter.opts[0]} {kind.upper()}"
    name = _label(parameter) + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _label(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).strip("{}[].").upper()


def _names(parameter: Any) -> str:
    if _is_argument(parameter):
        return f"`{_label(parameter)}`"
    return ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))


def _kind(hint: Any) -> str:
    """A type in words: `Path | None` is a path, a bool takes nothing."""
    if types := [one for one in typing.get_args(hint) if one is not type(None)]:
        return f"{_kind(types[0])}, repeatable" if typing.get_origin(hint) is list else _kind(types[0])
    return {"int": "number", "float": "number", "str": "text", "bool": ""}.get(
        hint.__name__, hint.__name__.lower()
    )


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    value = parameter.default
    # what depends on the terminal at hand is no default worth telling
    if value is None or value is False or value == () or callable(value) or parameter.name == "browser":
        return ""
    return "on" if value is True else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# -- the modules ---------------------------------------------------------------------------------------------


def rooms() -> dict[str, list[str]]:
    """Room -> its modules by name; the modules that lie in no room are those of "anypet" itself."""
    found: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        words = ("anypet", *file.relative_to(PACKAGE).with_suffix("").parts)
        words = words[:-1] if words[-1] == "__init__" else words
        if len(words) == 1 or words[1] == "cli" or any(word.startswith("_") for word in words):
            continue
        room = ".".join(words[:2]) if (PACKAGE / words[1]).is_dir() else "anypet"
        found.setdefault(room, []).append(".".join(words))
    return found


def modules() -> dict[str, str]:
    """A page for every room: its modules, with all public classes and functions."""
    pages = {}
    for room, names in rooms().items():
        parts = [f"# {room}"] + [f"## {name}\n\n::: {name}" for name in names]
        pages[f"reference/{room.rpartition('.')[2]}.md"] = "\n\n".join(parts) + "\n"
    return pages
