"""A llama-server, as the other scripts of this folder use it: started, queried over persistent connections, stopped.

Only the standard library. `--server` is the program, any version with `/completion`, `/tokenize` and `/props`.
"""

import base64
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time

SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"


def flags(parser, slots, context):
    """The flags that every script has."""
    parser.add_argument("--server", required=True, help="the program llama-server")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--mmproj", help="GGUF file with the vision projector")
    parser.add_argument("--slots", type=int, default=slots)
    parser.add_argument("--context", type=int, default=context, help="cache cells of all slots together")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--server-flags", default="", help="more flags for the server, separated by spaces")


class Server:
    """A running server; a context manager that ends it."""

    def __init__(self, options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [
            options.server, "--model", options.model, "--host", "127.0.0.1", "--port", str(self.port),
            "--parallel", str(options.slots), "--ctx-size", str(options.context), "--threads", str(options.threads),
            "--threads-http", str(options.slots + 2), "--log-verbosity", "1", *options.server_flags.split(),
        ]
        if options.mmproj:
            command += ["--mmproj", options.mmproj]
        started = time.perf_counter()
        self.log = []
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.connections = threading.local()
        try:
            while not self._ready():
                time.sleep(0.02)
        except BaseException:
            self.process.kill()
            raise
        self.start_seconds = time.perf_counter() - started
        self.marker = self.get("/props").get("media_marker") or "<__media__>"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def _ready(self):
        if self.process.poll() is not None:
            sys.exit(f"{self.process.args[0]} ended:\n{''.join(self.log[-20:])}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def _ask(self, method, path, body):
        connection = getattr(self.connections, "open", None)
        if connection is None:
            connection = self.connections.open = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        except (http.client.HTTPException, ConnectionError):
            # The server may close a connection that has been idle; the request is repeated once over a new one.
            connection.close()
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {text[:300]}")
        return json.loads(text)

    def get(self, path):
        return self._ask("GET", path, None)

    def complete(self, prompt, **settings):
        """`prompt` is a text, or a text with markers and its images in base64."""
        return self._ask("POST", "/completion", {"prompt": prompt, **settings})

    def tokens(self, text):
        return self._ask("POST", "/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def peak_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024


def picture(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()


def with_pictures(text, pictures):
    """A prompt for `Server.complete`."""
    return {"prompt_string": text, "multimodal_data": pictures} if pictures else text


def version(program):
    """The version that the program reports."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return next((line for line in (said.stderr + said.stdout).splitlines() if "version" in line), "unknown")
