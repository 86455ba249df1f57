"""A job's fields are written down once: whatever else lists them derives from there.

A new column is added to `database.schema`, to `JobDetails` where callers see it, and to `JobState`
where a job's life changes it; nowhere else.
"""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

import cl_server_shared
from cl_server_shared.database import JOBS, make_engine
from cl_server_shared.jobs.job_state import JobState
from cl_server_shared.jobs.paging import conditions_of
from cl_server_shared.jobs.rows import ROW_COLUMNS, JobRow, JobVersion, UnannouncedRow
from cl_server_shared.jobs.sql import rows as sql_rows
from cl_server_shared.jobs.sql.search import find_statement
from cl_server_shared.models import Job, JobDetails, JobFilter, JobRecord, JobStatus

SOURCE: Final = Path(cl_server_shared.__file__).parent
COLUMNS: Final = frozenset(column.name for column in JOBS.columns)
NOT_READ_WITH_A_ROW: Final = {"unannounced_at", "checkpoint"}
A_LIST: Final = 7
"""From how many fields on we call it a list of a job's fields: a record has as many."""
WRITTEN_BY_HAND: Final = {
    "models/job.py": "what callers hold, and the mapped columns",
    "database/schema.py": "the repository's own columns",
    "jobs/job_state.py": "what a job's life changes",
    "jobs/rows.py": "the rest of a row; what an event and a version are made of",
    "jobs/lifecycle.py": "what becomes of a job",
    "integrations/ml_tools.py": "the fields of another library's job",
}


def listed(node: ast.AST) -> list[object]:
    """Return the names that a class, call, dict or sequence lists."""
    match node:
        case ast.ClassDef(body=body):
            return [ast.unparse(line.target) for line in body if isinstance(line, ast.AnnAssign)]
        case ast.Call(keywords=keywords):
            return [keyword.arg for keyword in keywords]
        case ast.Dict(keys=keys):
            return [key.value for key in keys if isinstance(key, ast.Constant)]
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            constants = [part for item in items for part in ast.walk(item)]
            return [part.value for part in constants if isinstance(part, ast.Constant)]
        case ast.arguments(args=args, kwonlyargs=keywords):
            return [argument.arg for argument in (*args, *keywords)]
        case _:
            return []


def lists_of_fields(source: str) -> Iterator[list[object]]:
    for node in ast.walk(ast.parse(source)):
        names = [name for name in listed(node) if name in COLUMNS]
        if len(names) >= A_LIST:
            yield names


def test_a_list_of_fields_is_found_in_whatever_form() -> None:
    names = [*JobRecord.model_fields]
    for source in (
        f"{names}",
        f"({', '.join(map(repr, names))})",
        f"call({', '.join(f'{name}=1' for name in names)})",
        f"{dict.fromkeys(names)}",
        "class Row:\n" + "\n".join(f"    {name}: int" for name in names),
        f"def read({', '.join(names)}): ...",
    ):
        assert next(lists_of_fields(source)) == names


def test_no_file_but_those_that_define_them_lists_a_jobs_fields() -> None:
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if "testing" not in path.parts and any(lists_of_fields(path.read_text()))
    }

    assert found == WRITTEN_BY_HAND.keys()


def test_a_row_has_every_column_once_but_those_that_nobody_reads_with_it() -> None:
    assert sorted(ROW_COLUMNS) == sorted(COLUMNS - NOT_READ_WITH_A_ROW)


def test_a_record_is_the_beginning_of_a_rows_two_parts() -> None:
    parts = (*JobRow._fields[1:4], *JobState._fields[:4])
    assert parts == (*JobRecord.model_fields,)


def test_all_other_lists_are_of_columns_that_there_are() -> None:
    assert Job.model_fields.keys() < COLUMNS
    for names in (
        JobDetails.model_fields,
        JobVersion._fields,
        UnannouncedRow._fields,
        sql_rows.ADDED_COLUMNS,
        sql_rows.AS_READ.values(),
    ):
        assert COLUMNS.issuperset(names)


def test_what_the_database_requires_of_a_new_row_is_added() -> None:
    required = {
        column.name
        for column in JOBS.columns
        if not (column.nullable or column.primary_key or column.server_default)
    }

    assert required - {"retry_count"} <= {*sql_rows.ADDED_COLUMNS}


@pytest.mark.parametrize("dialect", ["sqlite://", "postgresql+psycopg://"])
def test_every_field_of_a_filter_is_a_condition_of_the_statement(dialect: str) -> None:
    everything = JobFilter(
        statuses=[JobStatus.error],
        task_types=["t"],
        created_by="ada",
        created_from=1,
        created_before=2,
        finished_from=3,
        finished_before=4,
        job_ids=["a"],
    )
    conditions = conditions_of(everything)
    statement = find_statement(frozenset(conditions), everything.order)
    compiled = statement.compiled(make_engine(dialect).dialect)

    assert conditions.keys() == {field.name for field in fields(JobFilter)} - {"order"}
    assert compiled.text.count(" AND ") == len(conditions) - 1
