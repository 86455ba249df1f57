"""What tests of your own need: suites for your own parts, a clock to turn, a container.

A suite is a class to derive from, with one fixture that gives your part:

    class TestMyStorage(JobStorageConformance):
        @pytest.fixture
        def storage(self, tmp_path: Path) -> JobStorage:
            return MyStorage(tmp_path)

The suites need pytest, and those with event loops anyio's plugin for it, which comes with anyio;
asynchronous tests run on asyncio, and on trio where that is installed. The rest needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from cl_server_shared.events.memory import MemoryBroadcaster
    from cl_server_shared.presence.memory import MemoryWorkerRegistry
    from cl_server_shared.testing.broadcaster import BroadcasterConformance
    from cl_server_shared.testing.clock import ManualClock
    from cl_server_shared.testing.job_management import JobManagementConformance
    from cl_server_shared.testing.job_repository import JobRepositoryConformance
    from cl_server_shared.testing.job_storage import JobStorageConformance
    from cl_server_shared.testing.temporary import temporary_container

__all__ = [
    "BroadcasterConformance",
    "JobManagementConformance",
    "JobRepositoryConformance",
    "JobStorageConformance",
    "ManualClock",
    "MemoryBroadcaster",
    "MemoryWorkerRegistry",
    "temporary_container",
]

_PACKAGE: Final = "cl_server_shared"
_HOME_OF: Final = {
    "BroadcasterConformance": "testing.broadcaster",
    "JobManagementConformance": "testing.job_management",
    "JobRepositoryConformance": "testing.job_repository",
    "JobStorageConformance": "testing.job_storage",
    "ManualClock": "testing.clock",
    "MemoryBroadcaster": "events.memory",
    "MemoryWorkerRegistry": "presence.memory",
    "temporary_container": "testing.temporary",
}
_SUITES: Final = (
    "broadcaster",
    "job_claims",
    "job_details",
    "job_files",
    "job_folders",
    "job_management",
    "job_purge",
    "job_reports",
    "job_repository",
    "job_search",
    "job_sources",
    "job_storage",
    "job_updates",
    "job_waiting",
)


def __getattr__(name: str) -> object:
    """Import a public name from its home (PEP 562); a suite's assertions tell what they compared.

    Raises:
        ModuleNotFoundError: a suite is wanted, and pytest is not installed.
    """
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.endswith("Conformance"):
        _explain_assertions()
    found = cast("object", getattr(import_module(f"{_PACKAGE}.{home}"), name))  # getattr gives Any
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _explain_assertions() -> None:
    """Have pytest rewrite the suites' assertions, which it does in test files by itself only."""
    import pytest  # noqa: PLC0415  # who wants no suite needs no pytest

    pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))
