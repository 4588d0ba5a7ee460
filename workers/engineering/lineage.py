"""Where columns come from: which columns of which source each one was made of, or that nobody can say, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from app.errors import bounded

MOST_COLUMNS = 2_000
MOST_NODES = 20_000


@dataclass(frozen=True)
class Origin:
    """Where one column comes from.

    Attributes:
        via: `copy` of a source's column, `sql`, `expression`, or `unknown`.
        sources: (source, column) pairs, in order; empty for constants and what is unknown.
        reason: Why it is unknown.
    """

    via: str
    sources: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """The origin as JSON."""
        found = {"via": self.via, "from": [{"source": source, "column": column} for source, column in self.sources]}
        return {**found, "reason": self.reason} if self.reason else found


def copied(source: str, names: Iterable[str]) -> dict[str, Origin]:
    """The origins of the columns of a source that is taken as it is."""
    return {name: Origin("copy", ((source, name),)) for name in names}


def of_sql(sql: str, tables: Mapping[str, Sequence[str]], outputs: Sequence[str]) -> dict[str, Origin]:
    """The origin of each column of `outputs`, which the SELECT `sql` gave over `tables` (name to columns).

    What a value is computed of counts; what a row was found by (joins, conditions) does not. Where the statement
    cannot be followed, or what was followed does not fit what the engine gave, the origin is unknown.
    """
    if len(outputs) > MOST_COLUMNS:
        return _unknown(outputs, f"the statement gives more than {MOST_COLUMNS:,} columns")
    columns = {table.lower(): {column.lower(): column for column in held} for table, held in tables.items()}
    names = {table.lower(): table for table in tables}
    schema: dict[str, object] = {table: dict.fromkeys(held, "TEXT") for table, held in columns.items()}
    try:
        tree = qualify(parse_one(sql, dialect="duckdb"), schema=schema, dialect="duckdb", identify=False)
        scope = build_scope(tree)
        selected = tree.named_selects if isinstance(tree, exp.Query) else []
        if scope is None or [name.lower() for name in selected] != [name.lower() for name in outputs]:
            return _unknown(outputs, "which columns the statement gives is known to the engine only")
        roots = lineage(None, tree, schema, dialect="duckdb", scope=scope, trim_selects=False, copy=False)
    except (SqlglotError, RecursionError, ValueError, KeyError, AttributeError, TypeError) as error:
        return _unknown(outputs, f"the statement cannot be followed: {bounded(error)}")
    return {name: _origin(roots[key], columns, names) for name, key in zip(outputs, selected, strict=True)}


def _origin(root: Node, columns: Mapping[str, Mapping[str, str]], tables: Mapping[str, str]) -> Origin:
    """The origin of a column, given as the graph of what it was made of."""
    found: dict[tuple[str, str], None] = {}
    plain, seen, waiting = True, set[int](), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if len(seen) > MOST_NODES:
            return Origin("unknown", reason="the statement is too large to follow")
        waiting += reversed(node.downstream)
        plain = plain and (isinstance(node.source, exp.Table) or isinstance(_bare(node.expression), exp.Column))
        if node.expression.find(exp.Exists):
            return Origin("unknown", reason="it asks whether rows exist")
        if node.downstream:
            continue
        leaf = _leaf(node, columns, tables)
        if isinstance(leaf, str):
            return Origin("unknown", reason=leaf)
        if leaf is not None:
            found.setdefault(leaf)
    return Origin("copy" if plain and len(found) == 1 else "sql", tuple(sorted(found)))


def _leaf(
    node: Node, columns: Mapping[str, Mapping[str, str]], tables: Mapping[str, str]
) -> tuple[str, str] | str | None:
    """The source's column that a last node stands for, None for a constant, or why it is neither."""
    if isinstance(node.source, exp.Table):
        table = node.source.name.lower()
        column = exp.to_column(node.name, dialect="duckdb").name.lower() if "." in node.name else node.name.lower()
        if table in tables and column in columns[table]:
            return tables[table], columns[table][column]
        return f"it takes {bounded(node.name)!r}, which is no column of a source"
    if any(_opaque(part) for part in node.expression.find_all(exp.Column, exp.Star, exp.Placeholder, exp.TableColumn)):
        return "it takes a column whose source cannot be told"
    return None


def _opaque(part: exp.Expr) -> bool:
    """Whether a part of a last node stands for values of unknown columns; `count(*)` takes none."""
    return not (isinstance(part, exp.Star) and isinstance(part.parent, exp.Count))


def _bare(expression: exp.Expr) -> exp.Expr:
    while isinstance(expression, exp.Alias | exp.Paren):
        expression = expression.this
    return expression


def _unknown(names: Iterable[str], reason: str) -> dict[str, Origin]:
    return {name: Origin("unknown", reason=reason) for name in names}


def with_expressions(origins: Mapping[str, Origin], columns: Sequence[Mapping[str, Any]]) -> dict[str, Origin]:
    """`origins` and those of derived columns, given as `derived.Plan.document` has them, each after what it uses."""
    found = dict(origins)
    for column in columns:
        used = [found[name] for name in column["uses"]]
        lost = [name for name, origin in zip(column["uses"], used, strict=True) if origin.via == "unknown"]
        if lost:
            found[column["name"]] = Origin(
                "unknown", reason=f"it is made of {bounded(lost[0])!r}, whose origin is unknown"
            )
        else:
            pairs = dict.fromkeys(pair for origin in used for pair in origin.sources)
            found[column["name"]] = Origin("expression", tuple(pairs))
    return found
