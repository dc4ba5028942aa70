"""docs/settings.md: every key of the file for ``baton render --config``, and its default."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from baton.observe.settings import Settings

_HEAD = """\
# Settings of boards and rules

Rendered by `baton render` from the code that reads them; do not edit by hand.

`baton render --config FILE --out DIR` takes a YAML file with any of these; what it leaves out keeps
its default. Nothing here has to follow a fleet's TTL or heartbeat interval: rules read those from
the metrics. Unknown keys are refused.

```yaml
pools: [default, nightly]
dashboard_url: https://grafana.example.org
runbook_url: https://wiki.example.org/baton/runbook
budgets:
  crashed_seconds: 2.5
hold_seconds:
  BatonQueueStalled: 1800
```

| key | default | meaning |
|---|---|---|
"""

_ATTRIBUTE = re.compile(r"^(\w+): (.+?)(?=^\w+: |\Z)", re.MULTILINE | re.DOTALL)


def render_settings_doc() -> str:
    """The page."""
    return _HEAD + "".join(f"{row}\n" for row in _rows(Settings(), ""))


def meanings(kind: type[Any]) -> dict[str, str]:
    """What the docstring of a record says of its attributes."""
    _, _, told = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
    return {
        name: " ".join(text.replace("``", "`").split())
        for name, text in _ATTRIBUTE.findall(inspect.cleandoc(told))
    }


def _rows(record: Any, place: str) -> Iterator[str]:
    told = meanings(type(record))
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        if dataclasses.is_dataclass(value):
            yield from _rows(value, f"{each.name}.")
        else:
            yield f"| `{place}{each.name}` | {_written(value)} | {told[each.name]} |"


def _written(value: Any) -> str:
    """A default as it would stand in the file."""
    if isinstance(value, tuple | Mapping):
        return ", ".join(f"`{each}`" for each in value) or "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
