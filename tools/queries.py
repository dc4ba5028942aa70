"""Which series a query selects, as a parser of PromQL tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser


@dataclass(frozen=True)
class Selector:
    """One selector of a query.

    Attributes:
        name: of the series.
        matchers: what it wants of labels.
    """

    name: str
    matchers: tuple[promql_parser.Matcher, ...]

    def takes(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether it selects this series."""
        return name == self.name and all(
            _holds(matcher, labels.get(matcher.name, "")) for matcher in self.matchers
        )


def _holds(matcher: promql_parser.Matcher, value: str) -> bool:
    ops = promql_parser.MatchOp
    if matcher.op in (ops.Equal, ops.NotEqual):
        return bool((value == matcher.value) == (matcher.op == ops.Equal))
    return bool(bool(re.fullmatch(matcher.value, value)) == (matcher.op == ops.Re))


def selectors(query: str) -> Iterator[Selector]:
    """Every selector in a query.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    for each in found:
        yield Selector(each.name or "", tuple(each.matchers.matchers))


def grouping_labels(query: str) -> set[str]:
    """Every label that a query groups by, joins on or copies."""
    clauses = re.findall(
        r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", query
    )
    return {label.strip() for clause in clauses for label in clause.split(",") if label.strip()}
