"""``python -m pipelines.api_reference docs/api``: the API reference, written from signatures and docstrings.

One Markdown page for each entry of `pipelines.api_pages.pages`, and an index. Docstrings are written for people who read code; here their
sections (``Args:``, ``Raises:`` ...) become lists, and what is between double backticks becomes code. Everything else stays as it is.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.api_pages import Page, pages

_ROOT = Path(__file__).parents[1]
_OURS = ("orchestrator", "actors", "pipelines")
_NAMED_BASES = (*_OURS, "torch", "sklearn", "pennylane")
_WIDTH = 80
_SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Parameters|Inputs|Shape):\s*(.*)")
_NOTE = "Written by `python -m pipelines.api_reference docs/api` from signatures and docstrings; a test keeps the two equal."


class Item(NamedTuple):
    """A public name and what it stands for. `module` is where a user imports it from."""

    module: str
    name: str
    value: Any


def page_text(page: Page) -> str:
    """A page in Markdown.

    Raises:
        ImportError: a name of it needs a package that is not installed.
    """
    items = [_item(path) for path in page.names]
    contents = " · ".join(f"[{item.name}](#{item.name.lower()})" for item in items)
    parts = [f"# {page.title}\n\n{_NOTE}\n\n{page.lead}\n\n{contents}\n"]
    return "\n".join([*parts, *(_entry(item) for item in items)])


def index_text() -> str:
    """docs/api/README.md: every name with its page. Imports none of the names, so that optional packages need not be there."""
    parts = [f"# API reference\n\n{_NOTE}\n\nWhat a user of qfleet may call, page by page.\n"]
    for file, page in pages().items():
        parts.append(f"## [{page.title}]({file}.md)\n\n{page.lead}\n")
        for path in page.names:
            module, _, name = path.partition(":")
            parts.append(f"- [`{name}`]({file}.md#{name.lower()}): `from {module} import {name}`")
        parts.append("")
    return "\n".join(parts)


def write(folder: Path) -> list[Path]:
    """Write all pages; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"README": index_text(), **{file: page_text(page) for file, page in pages().items()}}
    for file, text in texts.items():
        (folder / f"{file}.md").write_text(text, encoding="utf-8")
    return [folder / f"{file}.md" for file in texts]


def _item(path: str) -> Item:
    module, _, name = path.partition(":")
    return Item(module, name, getattr(importlib.import_module(module), name))


def _entry(item: Item) -> str:
    """A class or a function: how it is imported and called, what it says, and the members of a class."""
    value = item.value
    parts = [f"## {item.name}\n", f"{_kind(value)} [{_source(value)}](../../{_source(value)}).\n"]
    shown = f"{'' if inspect.isclass(value) else 'def '}{item.name}{_signature(value)}"
    parts.append(_code(f"from {item.module} import {item.name}\n\n{shown}"))
    parts.append(markdown(inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        parts += [
            f"*{base.__name__}*: {markdown(inspect.getdoc(base) or '')}" for base in _untold_bases(value)
        ]
        parts += [_member(item.name, name, member) for name, member in _members(value)]
    return "\n".join(parts)


def _untold_bases(value: type) -> list[type]:
    """Bases of ours that say something of parameters or attributes and have no entry of their own."""
    told = {path.partition(":")[2] for page in pages().values() for path in page.names}
    ours = [base for base in value.__mro__[1:] if base.__module__.partition(".")[0] in _OURS]
    return [base for base in ours if base.__name__ not in told and _SECTION.search(base.__doc__ or "")]


def _source(value: Any) -> str:
    """The file that it is defined in, from the root."""
    return str(Path(inspect.getfile(inspect.unwrap(value))).resolve().relative_to(_ROOT))


def _kind(value: Any) -> str:
    """What it is, and of what: a user who catches an error or derives a class needs the bases."""
    if not inspect.isclass(value):
        return "Function, in"
    if _is_protocol(value):
        return "Protocol, in"
    shown = [base.__name__ for base in value.__bases__ if base.__module__.partition(".")[0] in _NAMED_BASES]
    return f"Class, derived from {' and '.join(f'`{name}`' for name in shown)}, in" if shown else "Class, in"


def _is_protocol(value: Any) -> bool:
    return bool(getattr(value, "_is_protocol", False))


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class, in the order of its file, those of its bases of ours behind its own."""
    seen: set[str] = set()
    for owner in value.__mro__:
        if owner.__module__.partition(".")[0] not in _OURS:
            continue
        for name, member in vars(owner).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if isinstance(member, (staticmethod, classmethod, property, types.FunctionType)) or hasattr(
                member, "func"
            ):
                yield name, member


def _member(owner: str, name: str, member: Any) -> str:
    function: Any = getattr(member, "__func__", getattr(member, "func", member))
    if isinstance(member, property):
        function = member.fget
    if isinstance(member, property) or hasattr(member, "func"):
        shown = f"{name}: {_annotation(inspect.signature(function).return_annotation)}"
    else:
        kind = {staticmethod: "@staticmethod\n", classmethod: "@classmethod\n"}.get(type(member), "")
        if inspect.isgeneratorfunction(getattr(function, "__wrapped__", None)):
            kind = "@contextmanager\n"
        shown = f"{kind}def {name}{_signature(function, is_bound=not isinstance(member, staticmethod))}"
    return f"### {owner}.{name}\n\n{_code(shown)}\n{markdown(inspect.getdoc(function) or '')}"


def _signature(value: Any, is_bound: bool = False) -> str:
    """Parameters and result as they stand in the source, a line for each parameter where one line would be too long."""
    if _is_protocol(value):
        attributes = inspect.get_annotations(value)
        return "".join(f"\n    {name}: {_annotation(type_)}" for name, type_ in attributes.items())
    if inspect.isclass(value) and issubclass(value, BaseException) and "__init__" not in vars(value):
        return ""  # as any exception
    signature = inspect.signature(value)
    said = list(_parameters(list(signature.parameters.values())[int(is_bound) :]))
    returned = signature.return_annotation
    end = (
        ""
        if inspect.isclass(value) or returned is inspect.Signature.empty
        else f" -> {_annotation(returned)}"
    )
    line = f"({', '.join(said)}){end}"
    if len(line) <= _WIDTH:
        return line
    return "(\n" + "".join(f"    {one},\n" for one in said) + f"){end}"


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[str]:
    kinds = inspect.Parameter
    keywords_began = False
    for number, parameter in enumerate(parameters):
        if parameter.kind is kinds.KEYWORD_ONLY and not keywords_began:
            yield "*"
        keywords_began |= parameter.kind in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL)
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        text = stars + parameter.name
        if parameter.annotation is not inspect.Parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not inspect.Parameter.empty:
            text += f" = {_default(parameter.default)}" if ":" in text else f"={_default(parameter.default)}"
        yield text
        last = number + 1 == len(parameters) or parameters[number + 1].kind is not kinds.POSITIONAL_ONLY
        if parameter.kind is kinds.POSITIONAL_ONLY and last:
            yield "/"


def _annotation(annotation: Any) -> str:
    """A type as it is written; quotes are Python's, for what is defined further below."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(
        r"\b(?:orchestrator|actors|pipelines|collections|pathlib|typing)\.[\w.]*?(?=\w+\b(?!\.))", "", text
    ).strip("'\"")


def _default(value: Any) -> str:
    """A default that reads the same on every machine: an object without a literal is named by its type."""
    if isinstance(value, type) or inspect.isroutine(value):
        return "..." if value.__name__ == "<lambda>" else value.__name__
    if dataclasses.is_dataclass(value) or " at 0x" in (text := repr(value)):
        return "..." if "factory" in type(value).__name__.lower() else f"{type(value).__name__}(...)"
    if isinstance(value, str) and '"' not in value:
        return f'"{value}"'
    return "..." if text == "<factory>" else text


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def markdown(docstring: str) -> str:
    """A docstring of this project as Markdown: sections as lists, ``::`` and indented text as code, names in code."""
    lines = docstring.splitlines()
    parts: list[str] = []
    while lines:
        line = lines.pop(0)
        section = _SECTION.fullmatch(line)
        if section:
            body = _indented(lines)
            parts += [
                f"**{section[1]}**" + (f": {_inline(section[2])}" if section[2] else ""),
                "",
                *_list(body, section[1]),
                "",
            ]
        elif line.startswith(("    ", ">>> ")) or line.rstrip() == "::":
            body = [] if line.rstrip() == "::" else [line]
            body += _paragraph(lines) if line.startswith(">>> ") else _indented(lines)
            parts += ["", "```", *inspect.cleandoc("\n".join(["", *body])).splitlines(), "```", ""]
        else:
            parts.append(_inline(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts).strip()) + "\n"


def _paragraph(lines: list[str]) -> list[str]:
    """Take the lines up to an empty one off the front of `lines`."""
    body: list[str] = []
    while lines and lines[0]:
        body.append(lines.pop(0))
    return body


def _indented(lines: list[str]) -> list[str]:
    """Take the indented lines, and the empty ones between them, off the front of `lines`."""
    body: list[str] = []
    while lines and (lines[0].startswith(" ") or not lines[0]):
        body.append(lines.pop(0))
    while body and not body[-1]:
        body.pop()
    return body


def _list(body: list[str], section: str) -> Iterator[str]:
    """An item for each entry of a section; further indented lines belong to the entry above them."""
    if not body:
        return
    depth = min(len(line) - len(line.lstrip()) for line in body if line)
    entries: list[str] = []
    for line in filter(None, body):
        if entries and (len(line) - len(line.lstrip()) > depth or section in ("Returns", "Yields")):
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    for entry in entries:
        names, colon, text = entry.partition(": ")
        is_named = colon and re.fullmatch(r"[\w.*]+(, [\w.*]+)*", names)
        yield (
            f"- {', '.join(f'`{n}`' for n in names.split(', '))}: {_inline(text)}"
            if is_named
            else f"- {_inline(entry)}"
        )


def _inline(text: str) -> str:
    """Double backticks as code, and what Markdown would take for its own marks as it is."""
    pieces = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(
        f"`{piece.strip('`')}`"
        if piece.startswith("`") and piece.endswith("`") and len(piece) > 1
        else re.sub(r"([*<])", r"\\\1", piece)
        for piece in pieces
    )


def main(arguments: list[str]) -> None:
    """Write the pages into the folder that is named, and say which."""
    if len(arguments) != 1:
        sys.exit("usage: python -m pipelines.api_reference FOLDER")
    for path in write(Path(arguments[0])):
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
