"""How notebooks show estimators."""

from __future__ import annotations

from ..report.display import table
from ..report.records import shown_flag

__all__ = ["ShownParams"]


class ShownParams:
    """The Params that are set, in a table: long values cut, passwords left out."""

    def _repr_html_(self) -> str:
        params = self.given()  # type: ignore[attr-defined]
        rows = [(name, shown_flag(name, value)) for name, value in params.items()]
        return table(str(self.uid), rows)  # type: ignore[attr-defined]
