"""The audit of losses: whether a loss charges for what it says it charges for, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.audit.audit import audit_loss as audit_loss
    from steelyard.audit.finding import Audit as Audit
    from steelyard.audit.finding import Finding as Finding

__all__ = ["Audit", "Finding", "audit_loss"]


def __getattr__(name: str) -> Any:
    if name == "audit_loss":
        from steelyard.audit.audit import audit_loss

        return audit_loss
    if name in ("Audit", "Finding"):
        from steelyard.audit import finding

        return getattr(finding, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
