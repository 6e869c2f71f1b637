"""Names that have moved: causes are worded in ``error_text``, what to do about them is in ``remedies``."""

from .error_text import root_cause, text_of
from .remedies import hint_for

__all__ = ["hint_for", "root_cause", "text_of"]
