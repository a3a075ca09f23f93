"""What a PromQL query asks for: the series it selects and the labels of its answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser as promql

TARGET_LABELS = frozenset({"job", "instance"})
"""Prometheus puts these on whatever it scrapes."""


@dataclass
class Question:
    """What a query names: series with the labels and values it matches, and labels it groups or joins by."""

    selected: list[tuple[str, dict[str, set[str]]]] = field(default_factory=list)
    grouping: set[str] = field(default_factory=set)


def read(query: str) -> Question:
    """The question that a query asks. Raises ValueError when it is no PromQL."""
    question = Question()

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            question.selected.append(_selected(node))
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            question.grouping.update(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None:
            if node.modifier.matching is not None:
                question.grouping.update(node.modifier.matching.labels)
            question.grouping.update(node.modifier.group_labels or [])

    promql.walk(promql.parse(query), visit)
    return question


def _selected(node: promql.VectorSelector) -> tuple[str, dict[str, set[str]]]:
    matched: dict[str, set[str]] = {}
    for matcher in node.matchers.matchers:
        is_plain = re.fullmatch(r"[\w|./-]+", matcher.value) and ".." not in matcher.value and ".*" not in matcher.value
        matched[matcher.name] = set(matcher.value.split("|")) if is_plain else set()
    assert node.name is not None, f"{node} names no metric"
    return node.name, matched


def answer_labels(query: str, labels_of: Mapping[str, set[str]]) -> set[str]:
    """The labels that the answer of a query has. `labels_of` has those of each metric."""
    return _labels(promql.parse(query), labels_of)


def _labels(node: Any, labels_of: Mapping[str, set[str]]) -> set[str]:
    match node:
        case promql.VectorSelector():
            return labels_of[str(node.name)] | TARGET_LABELS
        case promql.MatrixSelector():
            return _labels(node.vector_selector, labels_of)
        case promql.AggregateExpr():
            modifier = node.modifier
            inner = _labels(node.expr, labels_of)
            if str(node.op) in {"topk", "bottomk"}:
                return inner
            if modifier is None:
                return set()
            by = modifier.type == promql.AggModifierType.By
            return inner & set(modifier.labels) if by else inner - set(modifier.labels)
        case promql.BinaryExpr():
            left, right = _labels(node.lhs, labels_of), _labels(node.rhs, labels_of)
            return left or right
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr, labels_of)
        case promql.Call():
            if node.func.name == "absent":
                return set()
            found = set().union(*(_labels(argument, labels_of) for argument in node.args))
            return found - {"le"} if node.func.name == "histogram_quantile" else found
        case _:
            return set()
