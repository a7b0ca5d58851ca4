"""How a code reaches a phone: by a command of the operator's own. The appliance has no modem and no SMS gateway."""

import json
import subprocess

from edge import EdgeError

TIMEOUT_S = 20.0
_TEXT = "【{site}】个人信息删除验证码 {code}，10 分钟内有效。非本人申请请忽略。 Code to erase your data: {code}"


class NotSent(EdgeError):
    """A code that has certainly not been brought: the command is not there, or says that it failed."""


class Sender:
    """Runs `[rights] send_command`: number and text go to its standard input as JSON, never into a command line."""

    def __init__(self, command: tuple[str, ...], site: str) -> None:
        """command: program and arguments. site: as the text names the sender."""
        self._command, self._site = command, site

    def send(self, number: str, code: str) -> None:
        """Have a code sent; raises NotSent, and EdgeError where the command does not end in time."""
        text = _TEXT.format(site=self._site, code=code)
        try:
            done = subprocess.run(
                self._command,
                input=json.dumps({"phone": number, "text": text}, ensure_ascii=False).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EdgeError(f"{self._command[0]}: did not end within {TIMEOUT_S:g} s") from error
        except OSError as error:
            raise NotSent(f"{self._command[0]}: {error.strerror}") from error
        if done.returncode != 0:
            raise NotSent(f"{self._command[0]}: failed (exit {done.returncode}); no code was sent")
