"""One expression over one row: parsed by the engine, and refused where it looks beyond its row or its columns."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from trainhouse_loader.derived.engine import Engine, said
from trainhouse_loader.errors import InvalidData, Violation, bounded, step

CLASSES = frozenset({
    "FUNCTION", "OPERATOR", "COLUMN_REF", "CONSTANT", "CASE", "CAST", "COMPARISON", "CONJUNCTION", "BETWEEN", "COLLATE",
    "LAMBDA", "TYPE",
})  # fmt: skip
WHY = {
    "SUBQUERY": "it holds a subquery", "WINDOW": "it holds a window function", "STAR": "it takes all columns by *",
    "PARAMETER": "it holds a parameter", "POSITIONAL_REFERENCE": "it names a column by its place",
}  # fmt: skip
MACROS = frozenset({
    "nullif", "if", "fdiv", "fmod", "split_part", "date_add", "days_in_month", "list_append", "list_prepend", "list_reverse",
    "array_append", "array_prepend", "array_reverse", "array_to_string", "md5_number_lower", "md5_number_upper",
    "map_contains_entry", "map_contains_value", "list_any_value", "list_avg", "list_bool_and", "list_bool_or", "list_count",
    "list_first", "list_last", "list_max", "list_median", "list_min", "list_mode", "list_product", "list_stddev_pop",
    "list_stddev_samp", "list_string_agg", "list_sum", "list_var_pop", "list_var_samp",
})  # fmt: skip
"""Macros of the engine that are functions of their arguments alone."""
UNSTEADY = frozenset(
    {"version", "current_localtime", "current_localtimestamp", "pg_conf_load_time", "get_current_time"}
)
NOT_NAMES = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "current_user", "user", "session_user",
    "current_role", "current_catalog", "current_schema",
})  # fmt: skip
SHAPE = {"where_clause", "having", "sample", "qualify"}
CATALOGUE = """
    SELECT lower(function_name), bool_and(function_type = 'scalar' AND stability = 'CONSISTENT')
    FROM duckdb_functions() WHERE function_type IN ('scalar', 'aggregate', 'window') GROUP BY ALL
"""
STEADY: dict[str, bool] = {}
"""By function whether it is of one row and always the same, as the engine says; read once for a process."""
Tree = dict[str, Any]


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes:
        name: Of the column that it makes.
        text: As the caller wrote it.
        document: The statement `SELECT (text)` as the engine's own JSON.
        columns: The columns that it uses, spelled as the table spells them, in order of appearance.
    """

    name: str
    text: str
    document: Tree
    columns: tuple[str, ...]


def pointer_to(name: str) -> str:
    """The JSON pointer of an expression in a job spec."""
    return "/data/features/columns" + step(name)


def refused(name: str, why: str, *, code: str, hint: str) -> InvalidData:
    """The error for the expression `name`."""
    message = f"The expression of column {bounded(name)!r}: {why}."
    return InvalidData(message, code=code, hint=hint, violations=[
        Violation(pointer=pointer_to(name), code=code, message=message, hint=hint, facts={"column": name})])  # fmt: skip


def parse(engine: Engine, name: str, text: str, known: Sequence[str]) -> Expression:
    """The expression `text` of the column `name` over the columns `known`.

    Raises:
        InvalidData: `expression_error` where it cannot be parsed, `expression_denied` where it is no function of one
            row, `unknown_column`.
    """
    document = _parsed(engine, name, text)
    statements = document["statements"]
    node = statements[0]["node"]
    plain = (
        len(statements) == 1 and node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY" and not node["modifiers"] and not node["cte_map"]["map"]
        and not node["group_expressions"] and not any(node.get(part) for part in SHAPE)
    )  # fmt: skip
    if not plain:
        raise _denied(name, "it is more than one expression")
    if not text.strip() or (
        node["select_list"][0].get("function_name") == "row" and not node["select_list"][0]["arguments"]
    ):
        raise refused(name, "it is empty", code="expression_error", hint="Write one DuckDB expression.")
    functions: set[tuple[str, int]] = set()
    used: dict[str, None] = {}
    for part, local in _parts(node["select_list"][0]):
        _check(name, part)
        if part["class"] == "FUNCTION":
            functions.add((part["function_name"].lower(), len(part["arguments"])))
        if part["class"] == "COLUMN_REF" and part["column_names"][0] not in local:
            part["column_names"] = [_resolved(name, part["column_names"], known)]
            used.setdefault(part["column_names"][0])
    _steady(engine, name, functions)
    return Expression(name, text, document, tuple(used))


def statement(engine: Engine, expression: Expression, names: dict[str, str]) -> str:
    """The expression as SQL text, its columns renamed by `names`."""
    document = json.loads(json.dumps(expression.document))
    for part, local in _parts(document["statements"][0]["node"]["select_list"][0]):
        if part["class"] == "COLUMN_REF" and part["column_names"][0] not in local:
            part["column_names"] = [names[part["column_names"][0]]]
    written = engine.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(document)]).fetchall()[0][0]
    return str(written).removeprefix("SELECT ")


def _parsed(engine: Engine, name: str, text: str) -> Tree:
    try:
        answer = engine.execute("SELECT json_serialize_sql(?)", [f"SELECT ({text}\n)"]).fetchall()[0][0]
        document: Tree = json.loads(answer)
    except RecursionError:
        raise refused(name, "it is nested too deeply", code="expression_error", hint="Split it into several columns.") from None  # fmt: skip
    except duckdb.Error as error:
        raise refused(name, said(error), code="expression_error", hint="Write one DuckDB expression.") from None
    if document["error"]:
        raise refused(name, bounded(document["error_message"]), code="expression_error",
                      hint='Write one DuckDB expression over the columns; quote names as "a name".')  # fmt: skip
    return document


def _parts(root: Tree) -> Iterator[tuple[Tree, frozenset[str]]]:
    """Every expression in `root`, with the names that lambdas around it have given to their arguments."""
    waiting: list[tuple[Any, frozenset[str]]] = [(root, frozenset())]
    while waiting:
        part, local = waiting.pop()
        if isinstance(part, list):
            waiting += [(each, local) for each in reversed(part)]
        elif isinstance(part, dict):
            if part.get("class") == "LAMBDA":
                local = local | _arguments(part)
            if "class" in part:
                yield part, local
            waiting += [(each, local) for each in reversed(part.values())]


def _arguments(part: Tree) -> frozenset[str]:
    """The names that a lambda gives to its arguments."""
    left = part["lhs"]
    sides = [each["expression"] for each in left["arguments"]] if left["class"] == "FUNCTION" else [left]
    return frozenset(side["column_names"][0] for side in sides if side["class"] == "COLUMN_REF")


def _check(name: str, part: Tree) -> None:
    """Nothing, where this part of an expression may be there."""
    kind = part["class"]
    if kind not in CLASSES or part["type"] == "GROUPING_FUNCTION":
        raise _denied(name, WHY.get(kind, f"it holds {kind.lower()}"))
    if kind == "LAMBDA" and part.get("syntax_type") != "LAMBDA_KEYWORD":
        raise refused(name, "the arrow -> is not understood", code="expression_denied",
                      hint="Write json_extract(a, '$.b') for JSON, and lambda x: ... for functions.")  # fmt: skip
    if kind == "FUNCTION" and (part["schema"] or part["catalog"] or part["distinct"] or part["filter"]
                               or part["order_bys"]["orders"]):  # fmt: skip
        raise _denied(name, f"{bounded(part['function_name'])} is used as an aggregate or by another schema")


def _resolved(name: str, spelled: list[str], known: Sequence[str]) -> str:
    """The column that is meant: as spelled, or else the only one that differs in case alone."""
    if len(spelled) == 1 and spelled[0] in known:
        return spelled[0]
    if len(spelled) > 1:
        raise refused(name, f"{bounded('.'.join(spelled))!r} is no column", code="unknown_column",
                      hint="Put a name that holds a dot into double quotes.")  # fmt: skip
    alike = [column for column in known if column.lower() == spelled[0].lower()]
    if len(alike) == 1:
        return alike[0]
    if spelled[0].lower() in NOT_NAMES:
        raise _denied(name, f"{spelled[0]} is not the same for every call")
    if alike:
        raise refused(name, f"{bounded(spelled[0])!r} could be {' or '.join(repr(bounded(one)) for one in alike)}",
                      code="unknown_column", hint="Write the name as the table does.")  # fmt: skip
    raise refused(name, f"there is no column {bounded(spelled[0])!r}", code="unknown_column",
                  hint="Texts stand in single quotes, names in double quotes.")  # fmt: skip


def _steady(engine: Engine, name: str, functions: set[tuple[str, int]]) -> None:
    """Nothing, where all functions are of one row and always the same."""
    if not STEADY:
        STEADY.update(engine.execute(CATALOGUE).fetchall())
    for function, arguments in sorted(functions):
        unsteady = function in UNSTEADY or function.startswith("__internal") or (function == "age" and arguments == 1)
        if function not in STEADY and function not in MACROS:
            raise _denied(name, f"{bounded(function)} is no function of one row")
        if unsteady or not (STEADY.get(function) or function in MACROS):
            raise _denied(name, f"{bounded(function)} looks beyond its row, or is not the same for every call")


def _denied(name: str, why: str) -> InvalidData:
    return refused(name, why, code="expression_denied",
                   hint="An expression takes values of its own row only; aggregate and join in data.features.sql.")  # fmt: skip
