"""A real PostgreSQL on the loopback, from the distribution's package."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from .line_process import SERVICES, free_port

# The server refuses to run as root; in a container the tests do.
_USER = "nobody"


class Postgres:
    """A server with an empty database `cellwall`, in a folder of its own under /tmp."""

    def __init__(self, folder: Path) -> None:
        services = dict(one.split("=", 1) for one in SERVICES.read_text().split())
        self.port = free_port()
        self._bin = Path(services["POSTGRES"])
        self._data = folder / "pg"
        self._data.mkdir()
        self._environment = {**os.environ, "LD_LIBRARY_PATH": services["LD_LIBRARY_PATH"],
                             "LC_ALL": "C"}
        self._as: list[str] = []
        if os.getuid() == 0:
            account = pwd.getpwnam(_USER)
            os.chown(self._data, account.pw_uid, account.pw_gid)
            for parent in (folder, *folder.parents):
                if parent == Path("/tmp") or parent == parent.parent:
                    break
                parent.chmod(parent.stat().st_mode | 0o011)
            self._as = [str(shutil.which("setpriv")), f"--reuid={account.pw_uid}",
                        f"--regid={account.pw_gid}", "--clear-groups"]
        self._run("initdb", "-D", str(self._data), "-U", "cellwall", "--auth=trust", "-E", "UTF8")
        self.start()
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "cellwall",
                  "cellwall")

    @property
    def url(self) -> str:
        """The database's URL."""
        return f"postgresql+pg8000://cellwall@127.0.0.1:{self.port}/cellwall"

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run([*self._as, str(self._bin / program), *words], check=False,
                              text=True, env=self._environment, cwd=self._data,
                              capture_output=True)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l",
                  str(self._data / "log"), "-o",
                  f"-p {self.port} -h 127.0.0.1 -k {self._data}", "start")

    def stop(self) -> None:
        """Stop it at once, as a power cut would end it for its clients."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")
