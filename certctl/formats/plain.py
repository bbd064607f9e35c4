"""Text as on a terminal, and the JSON object of the public contract."""

from __future__ import annotations

import json
from typing import Any

from certctl.cli.output import last_line
from certctl.formats.account import Account
from certctl.result import to_json


def text(account: Account) -> str:
    """The contract's line for every result; the reasons of a run stand on stderr, and in the other formats."""
    return "".join(f"{last_line(result)}\n" for result in account.results)


def json_text(account: Account) -> str:
    """The object of a gate, or of the one result of another command; strict JSON."""
    return json.dumps(_object(account), indent=2, allow_nan=False) + "\n"


def _object(account: Account) -> dict[str, Any]:
    if account.command != "gate":
        return to_json(account.results[0])
    listed = [result for result in account.results if result.code != "NOTHING_TO_CHECK"]
    return {"controllers": [to_json(result) for result in listed], "deployable": account.deployable, "refused": len(listed) - account.deployable,
            "policy": account.policy, "policy_digest": account.policy_digest}
