"""Runs baresip and is its ctrl_tcp in lines of JSON; to be run in a network namespace.

In come ``{"do": "dial", "with": "sip:bob@example.org"}``, any command of baresip's; out goes what
happens, ``{"event": "CALL_ESTABLISHED", …}``, ``{"event": "REGISTER_OK", …}``.  The end of
the input ends it.  What it hears and says is left as ``dump-*-dec.wav`` and ``dump-*-enc.wav``.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path

CONTROL = ("127.0.0.1", 4444)
START_LIMIT = 30.0
MODULES = Path("/usr/lib/baresip/modules")
CONFIG = """\
poll_method epoll
sip_listen {listen}
{trust}
{certificate}
audio_player aubridge,nobody
audio_source ausine,{tone}
audio_alert aubridge,alert
ausrc_srate 48000
auplay_srate 8000
ausrc_channels 2
auplay_channels 1
snd_path {directory}
ctrl_tcp_listen {control}
module_path {modules}
module uuid.so
module g711.so
module ausine.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
"""


def tell(**values: object) -> None:
    print(json.dumps(values), flush=True)


def connected(process: "subprocess.Popen[bytes]") -> socket.socket:
    """The control connection, once baresip listens."""
    while True:
        try:
            return socket.create_connection(CONTROL, START_LIMIT)
        except ConnectionRefusedError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            sys.exit("baresip ended at once")


def netstrings(buffer: bytearray) -> list[bytes]:
    """Take the complete ones."""
    found = []
    while (colon := buffer.find(b":")) >= 0:
        size = int(buffer[:colon])
        end = colon + 1 + size
        if len(buffer) <= end:
            break
        found.append(bytes(buffer[colon + 1 : end]))
        del buffer[: end + 1]
    return found


def main() -> None:
    options = json.loads(sys.argv[1])
    directory = Path(options["directory"])
    trust = f"sip_cafile {options['trust']}" if options.get("trust") else ""
    own = options.get("certificate")
    config = CONFIG.format(
        listen=options["listen"],
        trust=trust,
        certificate=f"sip_certificate {own}" if own else "",
        tone=options["tone"],
        directory=directory,
        control=":".join(map(str, CONTROL)),
        modules=MODULES,
    )
    (directory / "config").write_text(config)
    (directory / "accounts").write_text("")
    (directory / "contacts").write_text("")
    (directory / "uuid").write_text(options["uuid"])
    with (directory / "output.log").open("wb") as log:
        process = subprocess.Popen(
            ["baresip", "-f", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        control = connected(process)
        # Made now, and not from a file, so that nothing is missed of what it tells.
        order(control, "uanew", options["account"])
        serve(control)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def serve(control: socket.socket) -> None:
    heard, typed = bytearray(), b""
    with selectors.DefaultSelector() as ready:
        ready.register(control, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        tell(ready=True)
        while True:
            for key, _ in ready.select():
                if key.fileobj is control:
                    data = control.recv(1 << 16)
                    if not data:
                        return
                    heard += data
                    for each in netstrings(heard):
                        report(json.loads(each))
                    continue
                data = os.read(0, 1 << 16)
                if not data:
                    return
                *lines, typed = (typed + data).split(b"\n")
                for line in lines:
                    command = json.loads(line)
                    order(control, command["do"], command.get("with", ""))


def order(control: socket.socket, command: str, parameters: str) -> None:
    text = json.dumps({"command": command, "params": parameters})
    control.sendall(f"{len(text)}:{text},".encode())


def report(said: dict[str, object]) -> None:
    if said.get("event"):
        tell(event=said["type"], peer=said.get("peeruri", ""), detail=said.get("param", ""))
    else:
        tell(response=said.get("ok"), data=said.get("data", ""))


if __name__ == "__main__":
    main()
