"""Filter: which rows of a table are wanted, said in a small expression language.

``age > 40 and site in ['a', 'b']``. Python's grammar, and nothing of Python behind it: the text is parsed to a syntax tree, and the few
kinds of nodes below become one `pyarrow.compute` expression. Nothing is evaluated by Python. Known are

- columns by name; ``col('mean radius')`` where a name is no identifier,
- numbers, text, ``True``, ``False``; text stands for a date or a time where the column holds those,
- ``== != < <= > >=``, chained as in ``18 <= age < 65``; ``in`` and ``not in`` a list; ``is None`` and ``is not None``,
- ``and``, ``or``, ``not``, parentheses.

As in SQL, a comparison with a missing value is neither true nor false, and a row is kept only where the whole is true.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.errors import ConfigError, nearest

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MOST_NODES = 2000
"""Of a syntax tree: far beyond what a person writes, and well below what exhausts the stack."""
_LARGEST = 2**63 - 1

Constant = int | float | str | bool


@dataclass(frozen=True)
class Filter:
    """A parsed filter.

    Attributes:
        text: as it was written. key: of the configuration or the command line where it was written, for messages.
        columns: names that it needs, in the order in which they come.
    """

    text: str
    key: str
    tree: ast.expr
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, key: str = "data.filter") -> Filter:
        """Read the text.

        Raises:
            ConfigError: it is no expression, or one that filters have no words for.
        """
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f" near column {error.offset}" if isinstance(error, SyntaxError) else ""
            problem = f"is no filter{where}: {getattr(error, 'msg', error)}"
            raise ConfigError(key, text, problem, "age > 40 and site in ['a', 'b']") from None
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
            raise ConfigError(key, text[:80] + "...", f"has more than {_MOST_NODES} parts; shorten the lists")
        found: dict[str, None] = {}
        _Checker(text, key, found).condition(tree)
        return cls(text, key, tree, tuple(found))

    def expression(self, schema: pa.Schema) -> pc.Expression:
        """The filter for a table of these columns.

        Raises:
            ConfigError: it names a column that is not there, or compares one with what its type cannot be compared with.
        """
        for name in self.columns:
            if name not in schema.names:
                problem = f"there is no column {name!r}"
                raise ConfigError(self.key, self.text, problem, nearest(name, schema.names))
        return _Compiler(self.text, self.key, schema).condition(self.tree)


class _Walker:
    """What the two walks over the tree share: how a part is refused."""

    def __init__(self, text: str, key: str) -> None:
        self._text, self._key = text, key

    def refuse(self, node: ast.AST, problem: str, suggestion: str | None = None) -> NoReturn:
        part = ast.unparse(node)
        raise ConfigError(self._key, self._text, f"{part!r} {problem}", suggestion)

    def constant(self, node: ast.expr) -> Constant | None:
        """The number, text or truth value that a node is; None if it is none."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self.constant(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value
            self.refuse(node, "is the negative of no number")
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
            if isinstance(node.value, int) and node.value > _LARGEST:
                self.refuse(node, "is more than a whole number of 64 bits can be", str(_LARGEST))
            return node.value
        return None


def _column_name(node: ast.expr) -> str | None:
    """The column that a node names."""
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "col"
        and len(node.args) == 1
        and not node.keywords
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ):
        return node.args[0].value
    return None


def _any(parts: list[pc.Expression]) -> pc.Expression:
    """One of several conditions; nested like a tree, since a long chain would exhaust pyarrow's stack."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return _any(parts[:half]) | _any(parts[half:])


class _Checker(_Walker):
    """Refuses what filters have no words for, and notes the columns; knows nothing of types."""

    def __init__(self, text: str, key: str, found: dict[str, None]) -> None:
        super().__init__(text, key)
        self._found = found

    def condition(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self.condition(part)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand)
        elif isinstance(node, ast.Compare):
            self._comparison(node)
        elif (name := _column_name(node)) is not None:
            self._found[name] = None
        else:
            self.refuse(node, "is no condition; compare a column with a value, as in 'age > 40'")

    def _comparison(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for index, operation in enumerate(node.ops):
            left, right = sides[index], sides[index + 1]
            self._operand(left)
            if isinstance(operation, (ast.In, ast.NotIn)):
                self._list(right)
            elif isinstance(operation, (ast.Is, ast.IsNot)):
                if not (isinstance(right, ast.Constant) and right.value is None):
                    self.refuse(node, "compares identities; only 'is None' has a meaning", "==")
            else:
                self._operand(right)
                if _column_name(left) is None and _column_name(right) is None:
                    self.refuse(node, "compares no column")
            if isinstance(operation, (ast.In, ast.NotIn, ast.Is, ast.IsNot)) and _column_name(left) is None:
                self.refuse(node, "compares no column")

    def _operand(self, node: ast.expr) -> None:
        name = _column_name(node)
        if name is not None:
            self._found[name] = None
        elif isinstance(node, ast.Constant) and node.value is None:
            self.refuse(node, "is compared with 'is None' or 'is not None'")
        elif self.constant(node) is None:
            self.refuse(node, "is neither a column nor a number, text, True or False")

    def _list(self, node: ast.expr) -> None:
        if not isinstance(node, (ast.List, ast.Tuple, ast.Set)) or not node.elts:
            self.refuse(node, "is no list of values, as in ['a', 'b']")
        for each in node.elts:
            if self.constant(each) is None:
                self.refuse(each, "is no number, text, True or False")


class _Compiler(_Walker):
    """Makes the expression for columns of known types."""

    def __init__(self, text: str, key: str, schema: pa.Schema) -> None:
        super().__init__(text, key)
        self._schema = schema

    def condition(self, node: ast.expr) -> pc.Expression:
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(part) for part in node.values]
            whole = parts[0]
            for part in parts[1:]:
                whole = whole & part if isinstance(node.op, ast.And) else whole | part
            return whole
        if isinstance(node, ast.UnaryOp):
            return ~self.condition(node.operand)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if self._kind(node) != "true/false":
            self.refuse(node, f"holds {self._kind(node)} and is no condition; compare it with a value")
        return self._field(node)

    def _comparison(self, node: ast.Compare) -> pc.Expression:
        sides = [node.left, *node.comparators]
        whole = None
        for index, operation in enumerate(node.ops):
            part = self._one(node, sides[index], operation, sides[index + 1])
            whole = part if whole is None else whole & part
        return whole

    def _one(self, node: ast.expr, left: ast.expr, operation: ast.cmpop, right: ast.expr) -> pc.Expression:
        if isinstance(operation, (ast.Is, ast.IsNot)):
            missing = self._field(left).is_null(nan_is_null=True)
            return missing if isinstance(operation, ast.Is) else ~missing
        if isinstance(operation, (ast.In, ast.NotIn)):
            assert isinstance(right, (ast.List, ast.Tuple, ast.Set))
            field = self._field(left)
            whole = _any([field == self._value(each, left) for each in right.elts])
            return whole if isinstance(operation, ast.In) else ~whole
        is_ordered = not isinstance(operation, (ast.Eq, ast.NotEq))
        if is_ordered and "true/false" in (self._kind(left), self._kind(right)):
            self.refuse(node, "orders truth values; compare them with ==")
        return _COMPARISONS[type(operation)](self._side(left, right), self._side(right, left))

    def _side(self, node: ast.expr, other: ast.expr) -> Any:
        """One side of a comparison whose other side is `other`."""
        if _column_name(node) is None:
            return self._value(node, other)
        if _column_name(other) is not None and self._kind(node) != self._kind(other):
            self.refuse(node, f"holds {self._kind(node)}, and {ast.unparse(other)!r} {self._kind(other)}")
        return self._field(node)

    def _value(self, node: ast.expr, column: ast.expr) -> Any:
        """A constant, of a kind that the column can be compared with."""
        import pyarrow as pa

        value, kind, name = self.constant(node), self._kind(column), _column_name(column)
        assert value is not None
        if kind == "dates":
            kind_of_column = self._schema.field(name).type
            try:
                return pa.scalar(value).cast(kind_of_column)
            except pa.ArrowException:
                self.refuse(node, f"is no {kind_of_column}, which column {name!r} holds", "'2026-01-31'")
        if kind != self._kind(node):
            close = repr(str(value)) if kind == "text" else None
            self.refuse(node, f"is {self._kind(node)}, but column {name!r} holds {kind}", close)
        if isinstance(value, int) and pa.types.is_decimal(self._schema.field(name).type):
            return float(value)  # a whole number would ask for more digits than such a column may have
        return value

    def _field(self, node: ast.expr) -> pc.Expression:
        import pyarrow.compute as pc

        return pc.field(_column_name(node))

    def _kind(self, node: ast.expr) -> str:
        """What a column or a constant holds, in words."""
        from pyarrow import types

        name = _column_name(node)
        if name is None:
            value = self.constant(node)
            if isinstance(value, bool):
                return "true/false"
            return "text" if isinstance(value, str) else "numbers"
        kind = self._schema.field(name).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_boolean(kind):
            return "true/false"
        if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            return "text"
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            return "numbers"
        return "dates" if types.is_temporal(kind) else str(kind)
