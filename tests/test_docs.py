"""The site says what there is: every command, module and example; versions agree; guides are whole."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

import anypet
from anypet.cli.app import COMMANDS, app
from guide_blocks import NOT_RUN, PAGES, ROOT, SHORTER, blocks_of
from test_guides import EXAMPLES


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """tools/pages.py, which makes pages from the code."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "tools" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_one() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == anypet.__version__
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/anypet/_version.py"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {anypet.__version__}" in changes
    guide = (ROOT / "docs" / "guides" / "operator.md").read_text(encoding="utf-8")
    assert f"anypet-{anypet.__version__}-py3-none-any.whl" in guide


def test_every_command_and_option_is_told(pages: ModuleType) -> None:
    text = pages.commands()
    root = typer.main.get_command(app)
    told = [" ".join(path) for path, _ in pages.walk(root, ("anypet",))]
    assert {words.split()[1] for words in told} == set(COMMANDS)
    for path, command in pages.walk(root, ("anypet",)):
        heading = f"{'#' * len(path)} {' '.join(path)}\n"
        assert heading in text
        section = re.split(r"^#+ ", text[text.index(heading) + len(heading) :], maxsplit=1, flags=re.M)[0]
        for parameter in command.params if not hasattr(command, "commands") else ():
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert f"`{parameter.opts[0]}`" in section, (path, parameter.name)


def test_defaults_are_told(pages: ModuleType) -> None:
    text = pages.commands()
    assert "| `--seed` | number | `0` | Same seed, same studies. |" in text
    assert "| `-o`, `--output` | path | needed | Mask to write: .nii.gz, .nii, .nrrd, .mha. |" in text
    assert "| `--point` | text, repeatable |  |" in text
    assert "anypet autopet simulate-clicks LABEL PET -o PATH [OPTIONS]" in text
    assert "anypet autopet predict [INPUT] [OUTPUT] [OPTIONS]" in text


def test_every_module_with_something_public_has_its_place(pages: ModuleType) -> None:
    told = {name for names in pages.rooms().values() for name in names}
    package = ROOT / "src" / "anypet"
    for file in package.rglob("*.py"):
        words = file.relative_to(package).with_suffix("").parts
        tree = ast.parse(file.read_text(encoding="utf-8"))
        public = [
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
        ]
        if public and words[0] not in ("cli", "__init__"):
            name = ".".join(("anypet", *(words[:-1] if words[-1] == "__init__" else words)))
            assert name in told, name
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in pages.modules():
        assert f"{page}\n" in nav, page


def test_every_example_is_shown_and_run(pages: ModuleType) -> None:
    there = {file.stem for file in (ROOT / "examples").glob("*.py")}
    assert set(pages.EXAMPLES) == there
    assert list(EXAMPLES) == list(pages.EXAMPLES)
    text = pages.gallery()
    for name in there:
        code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
        assert f"python examples/{name}.py" in (ast.get_docstring(ast.parse(code)) or "")
        assert f"## {name}\n" in text
        assert code.rpartition('if __name__ == "__main__":')[2].strip() in text


def test_links_and_headings_of_included_files(pages: ModuleType) -> None:
    text = "# Title\nwords\n## Part\n```\n# a comment\n```\n"
    assert pages.included(text, 0) == "words\n## Part\n```\n# a comment\n```"
    assert pages.included(text, 1) == "words\n### Part\n```\n# a comment\n```"

    class File:
        src_uri = "guides/a.md"

    class Page:
        file = File()

    moved = pages.on_page_markdown(
        "[a](../src/anypet/weights/lesions.md) [b](docs/lesions.md#x) [c](ARCHITECTURE.md) [d](other.md)",
        Page(), None, None,
    )  # fmt: skip
    assert moved == "[a](../models.md) [b](../lesions.md#x) [c](../architecture.md) [d](other.md)"
    listed = "words:\n- one\n  more\n- two\n\n## Part\n- three\n```\nwords\n- four\n```"
    assert pages.with_lists(listed) == listed.replace("words:\n-", "words:\n\n-")
    for include in pages.INCLUDE.findall("\n".join(p.read_text() for p in Path(ROOT / "docs").glob("*.md"))):
        assert (ROOT / include).is_file(), include


def test_names_of_the_first_page_of_python_are_there() -> None:
    text = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\[(anypet[\w.]+)\]", text)
    assert len(names) > 15
    for name in names:
        home, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(home), last), name
    for name in anypet.__all__:
        assert name == "__version__" or f"[`{name}`]" in text


def test_blocks_of_the_guides() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    assert sum(not block.reason for block in blocks) >= 30
    for page in PAGES:
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        # a fence of another kind would be neither run nor explained
        assert text.count("\n```bash") == len(blocks_of(page)), page
        assert not re.search(r"^```(?!bash|$)", text, re.M), page
    for long in SHORTER:
        assert any(long in block.code for block in blocks), f"{long}: nothing to shorten"


def test_a_title_has_to_be_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import guide_blocks

    monkeypatch.setattr(guide_blocks, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "a.md"
    page.write_text(f'```bash title="{NOT_RUN}no PACS"\nanypet\n```\n\n```bash\ntrue\n```\n')
    assert [(b.reason, b.code) for b in blocks_of("a")] == [("no PACS", "anypet\n"), ("", "true\n")]
    page.write_text('```bash title="Install"\nanypet\n```\n')
    with pytest.raises(ValueError, match="block 1"):
        blocks_of("a")


def test_a_failing_command_is_a_failing_guide(tmp_path: Path) -> None:
    from guide_blocks import run_as_reader

    assert run_as_reader(["bash", "-c", "echo $ANYPET_HOME"], tmp_path, tmp_path / "h").strip().endswith("/h")
    with pytest.raises(AssertionError, match="exit code 3"):
        run_as_reader(["bash", "-euo", "pipefail", "-c", "exit 3; true"], tmp_path, tmp_path)
