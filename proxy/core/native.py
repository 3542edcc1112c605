"""What the compiled build makes of a whole batch in one go. Law: it is asked first, and what it
does not give is made one by one; the pure build has none of it."""

from __future__ import annotations

from typing import Final

try:
    from proxy.core import _pack
except ImportError:
    IS_HERE = False
else:
    IS_HERE = True

KeyDigester: Final = _pack.KeyDigester if IS_HERE else None
"""Store keys of one rule, generation and scope."""

all_differ: Final = _pack.all_differ if IS_HERE else None
"""Whether no store key stands twice."""

claim_fields: Final = _pack.claim_fields if IS_HERE else None
"""A claim's argument."""

command: Final = _pack.command if IS_HERE else None
"""A script call."""

commit_words: Final = _pack.commit_words if IS_HERE else None
"""Done records as words of a command."""

sets: Final = _pack.sets if IS_HERE else None
"""Many SET commands."""

unlike: Final = _pack.unlike if IS_HERE else None
"""Which stored values are no usual records of the same content."""

usual_time: Final = _pack.usual_time if IS_HERE else None
"""When all of these records were made."""

records_each: Final = _pack.records_each if IS_HERE else None
"""The records in a list of stored values."""
