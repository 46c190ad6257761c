"""Commands of the embedded default."""

from affiliate.core.embedded.local import local_command
from affiliate.core.embedded.run import run_command

commands = [run_command, local_command]
