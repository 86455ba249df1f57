"""What every job storage does: the suite for your own."""

from cl_server_shared.testing.job_files import JobFilesConformance
from cl_server_shared.testing.job_folders import JobFoldersConformance
from cl_server_shared.testing.job_sources import JobSourcesConformance


class JobStorageConformance(JobFilesConformance, JobFoldersConformance, JobSourcesConformance):
    """What a `JobStorage` does, wherever it keeps its files.

    Derive a class whose name starts with `Test`, with a fixture `storage` that gives an empty one.
    Its asynchronous cases run on asyncio, and on trio where that is installed.
    """
