"""Publish events and end at once: host, port, topic, number of events, file for the time.

The file gets the monotonic clock's seconds at the end of the program's own work.
"""

import sys
import time
from pathlib import Path

from cl_server_shared.events.mqtt import MqttBroadcaster
from cl_server_shared.models import JobEvent, JobStatus


def main(host: str, port: str, topic: str, number: str, ended: str) -> None:
    broadcaster = MqttBroadcaster(host, int(port), topic)
    for seq in range(int(number)):
        broadcaster.publish(
            JobEvent(
                job_id="leaving",
                event_type=JobStatus.processing,
                timestamp=1,
                progress=0,
                task_type="test",
                seq=seq,
            )
        )
    Path(ended).write_text(str(time.monotonic()))


main(*sys.argv[1:])
