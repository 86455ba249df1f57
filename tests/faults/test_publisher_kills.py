"""Publishers killed after a commit; the full form is `python -m tests.faults.publisher_kills`."""

from pathlib import Path
from random import Random

from tests.faults.publisher_kills import Killing
from tests.support.servers import BrokerProcess

pytest_plugins = ["tests.support.databases"]

KILLS = 6


def test_a_next_process_tells_what_a_killed_one_could_not(
    shared_database_url: str, own_broker: BrokerProcess
) -> None:
    with Killing(shared_database_url, own_broker, Random()) as killing:
        result = killing.kill_one_after_the_other(KILLS)

    print(f"\n{result}")
    assert result.in_between >= 1
    assert result.is_clean


def test_survivors_tell_what_a_killed_member_of_a_fleet_could_not(
    tmp_path: Path, own_broker: BrokerProcess
) -> None:
    with Killing(f"sqlite:///{tmp_path}/jobs.db", own_broker, Random()) as killing:
        result = killing.kill_of_a_fleet(KILLS)

    print(f"\n{result}")
    assert result.in_between >= 1
    assert result.is_clean
