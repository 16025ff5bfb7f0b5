"""Log formats: text, or JSON lines."""

import logging
import sys
import time
from typing import Literal

import msgspec


class JsonLines(logging.Formatter):
    """Time (UTC), level, logger, message; then the fields of an access line, or an exception's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line."""
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


FORMATS: dict[str, logging.Formatter] = {
    "text": logging.Formatter("%(asctime)s %(levelname)s %(message)s"),
    "json": JsonLines(),
    "plain": logging.Formatter("%(message)s"),
}
"""text and json are for servers, plain for commands."""


Stream = Literal["stderr", "stdout"]

CHATTY = ("httpx", "httpcore", "httpx2", "httpcore2", "urllib3", "filelock", "huggingface_hub")
"""Libraries that log each HTTP request of a download, which is disabled."""


def log_to_stderr(level: str, form: str = "plain") -> None:
    """Send the log of this process to standard error, in one of FORMATS."""
    log_to("stderr", level, form)


def log_to(stream: Stream, level: str, form: str = "plain") -> None:
    """The same, on standard error or standard output."""
    handler = logging.StreamHandler(sys.stdout if stream == "stdout" else sys.stderr)
    handler.setFormatter(FORMATS[form])
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
