"""Reads the small, safe part of YAML that a person needs, and remembers on which line everything stands.

Rules kept here:

1. Only mappings with text keys, sequences and plain values. Anchors, aliases, tags, duplicate keys and a
   second document are refused: they are how YAML files surprise their reviewers, or exhaust memory.
2. Plain words mean one thing: ``true``/``false``, ``null``, decimal numbers; all else is text. So ``no`` is
   text, a model that wants a truth value says so, and a date stays text until the model reads it.
3. Size, depth, number of values and length of a text are limited before anything is built.

Works on the parser's events; nothing is constructed from tags and nothing recurses.

Reference: YAML 1.2.2, section 10.3 (core schema), reduced.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from fedseal_governance.errors import DocumentError, Problem, shown

Path = tuple[str | int, ...]
"""Keys and indices from the root of the document."""

Tree = None | bool | int | float | str | list["Tree"] | dict[str, "Tree"]

MAX_DEPTH = 12
"""Nesting of the deepest document we define is 4."""

MAX_VALUES = 20_000
"""A dataset schema of 2,000 columns with six fields each stays below this."""

MAX_TEXT = 4096
"""Longest single text, in characters."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})?(\.[0-9]{0,17})?([eE][-+]?[0-9]{1,3})?\Z")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinedTree:
    """A document as plain values, with line and column of each path counted from 1."""

    root: Tree
    lines: dict[Path, int]
    columns: dict[Path, int]

    def line_of(self, path: Path) -> int | None:
        """Line of ``path``, or of its nearest ancestor that the document has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def column_of(self, path: Path) -> int | None:
        """Column of ``path``, or of its nearest ancestor that the document has."""
        while path and path not in self.columns:
            path = path[:-1]
        return self.columns.get(path)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that has begun and not yet ended."""

    path: Path
    value: Any
    key: str | None = None
    seen: dict[str, int] = field(default_factory=dict)
    column: int = 1
    """Where the key that waits for its value stands."""


def read_tree(data: bytes, *, filename: str, max_bytes: int) -> LinedTree:
    """Read ``data`` into plain values.

    Args:
        data: the file's bytes.
        filename: its name for messages.
        max_bytes: largest accepted size in bytes.

    Raises:
        DocumentError: not text, not YAML, or outside of the part of YAML described above.
    """
    reader = _Reader(filename)
    text = _text(data, filename, max_bytes)
    try:
        for event in _events(text):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        reader.column = 1 if mark is None else mark.column + 1
        raise reader.refusal(
            f"the text is not valid YAML ({error.problem or error.context})",
            "check indentation, quotes and brackets there",
            line,
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The scanner lets impossible escapes and directives fall through as these.
        raise reader.refusal("the text is not valid YAML", "check escapes such as \\U and directives", None) from None
    return reader.finished()


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=yaml.SafeLoader)


def _text(data: bytes, filename: str, max_bytes: int) -> str:
    def refusal(fault: str, remedy: str, line: int | None = None) -> DocumentError:
        return DocumentError(Problem(file=filename, line=line, fault=fault, remedy=remedy))

    if len(data) > max_bytes:
        raise refusal(f"the file has {len(data)} bytes, more than the {max_bytes} allowed", "shorten it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal("the file is not UTF-8 text", "save it as UTF-8 text, or name the right file", line) from None
    found = _CONTROL.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        code = f"U+{ord(found.group()):04X}"
        raise refusal(
            f"the file contains the control character {code}, as binary files do",
            "remove it, or name the right file",
            line,
        )
    if not text.strip():
        raise refusal("the file is empty", "write the document into it, or name the right file")
    return text


class _Reader:
    """Builds the tree from events; raises on the first event outside of the permitted part."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._stack: list[_Open] = []
        self._lines: dict[Path, int] = {}
        self._columns: dict[Path, int] = {}
        self.column = 1
        """Of the event that is being read, counted from 1."""
        self._root: Tree = None
        self._documents = 0
        self._values = 0

    def refusal(self, fault: str, remedy: str, line: int | None) -> DocumentError:
        column = None if line is None else self.column
        return DocumentError(Problem(file=self._filename, line=line, column=column, fault=fault, remedy=remedy))

    def finished(self) -> LinedTree:
        if () not in self._lines:
            raise self.refusal("the file has no content", "write the document into it", None)
        return LinedTree(root=self._root, lines=self._lines, columns=self._columns)

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        self.column = event.start_mark.column + 1
        self._refuse_cleverness(event, line)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self.refusal("a second document begins", "put it into a file of its own", line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent():
                self._begin({}, line)
            case yaml.SequenceStartEvent():
                self._begin([], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
            case _:
                pass  # stream start and end, document end: nothing to keep

    def _refuse_cleverness(self, event: Any, line: int) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self.refusal("anchors and aliases (& and *) are not allowed", "write the value out", line)
        if getattr(event, "tag", None) is not None:
            raise self.refusal(f"the tag {shown(event.tag)} is not allowed", "remove it", line)

    def _scalar(self, event: Any, line: int) -> None:
        text = event.value
        if len(text) > MAX_TEXT:
            raise self.refusal(f"a text has {len(text)} characters, more than {MAX_TEXT}", "shorten it", line)
        found = _CONTROL.search(text)
        if found:
            code = f"U+{ord(found.group()):04X}"
            raise self.refusal(f"a text contains the control character {code}", "remove it", line)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(top, text, line)
        else:
            self._place(self._plain(text, line) if event.style is None else text, line)

    def _key(self, top: _Open, key: str, line: int) -> None:
        if key in top.seen:
            raise self.refusal(
                f"the key `{shown(key)}` is already on line {top.seen[key]}", "keep one of the two", line
            )
        top.seen[key] = line
        top.key, top.column = key, self.column

    def _begin(self, value: Tree, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self.refusal(f"values are nested deeper than {MAX_DEPTH} levels", "flatten them", line)
        path = self._place(value, line)
        self._stack.append(_Open(path=path, value=value))

    def _place(self, value: Tree, line: int) -> Path:
        """Put ``value`` where the document is at and return its path."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise self.refusal(f"the file has more than {MAX_VALUES} values", "split it", line)
        column = self.column
        if not self._stack:
            self._root = value
            path: Path = ()
        else:
            top = self._stack[-1]
            if isinstance(top.value, dict):
                if top.key is None:
                    raise self.refusal("a key is not plain text", "write a word before the colon", line)
                path, line, column = (*top.path, top.key), top.seen[top.key], top.column
                top.value[top.key] = value
                top.key = None
            else:
                path = (*top.path, len(top.value))
                top.value.append(value)
        self._lines[path], self._columns[path] = line, column
        return path

    def _plain(self, text: str, line: int) -> Tree:
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.match(text):
            return int(text)
        if _NUMBER.match(text) and any(c.isdigit() for c in text.partition("e")[0].partition("E")[0]):
            number = float(text)
            if number in (float("inf"), float("-inf")):
                raise self.refusal(f"the number {shown(text)} is too large", "write a smaller one", line)
            return number
        return text
