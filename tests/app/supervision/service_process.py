"""A service without HTTP, as a process to be killed: supervises a home and prints every event that it has stored."""

import asyncio
import sys
from pathlib import Path

from app.followers import Followers
from app.settings import Settings
from app.store.sqlite import SqliteStore
from app.supervision.supervisor import Supervisor


async def serve(home: Path, job_id: str, command: list[str]) -> None:
    """Supervise, and print the events of one job, until killed."""
    settings = Settings(home=home, workspace=home)
    store = SqliteStore(settings.database)
    followers = Followers()
    supervisor = Supervisor(settings, store, followers, command)
    await supervisor.start()
    after = -1
    with followers.follow(job_id) as follower:
        while True:
            for event in store.events(job_id, after):
                print(event.seq, event.type, flush=True)
                after = event.seq
            await follower.wait(None)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
