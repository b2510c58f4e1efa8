"""Serves a file of feature flags over OFREP, evaluated by the flag systems' own evaluators.

go-feature-flag's is the WebAssembly build of its Go code that its Python provider ships; flagd's is
OpenFeature's reference evaluator for Python. Around them is what their servers do and no more: the
file is read when it is polled or when a refresh is asked for, keys are checked, and answers have the
status and the fields of the real ones. Tests of Backout alone use it.
"""

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def parsed(path):
    with open(path, "rb") as file:
        text = file.read().decode()
    if path.endswith(".json"):
        return json.loads(text)
    if path.endswith(".toml"):
        import tomllib

        return json.loads(json.dumps(tomllib.loads(text), default=lambda at: at.isoformat()))
    import yaml

    # As Go reads YAML 1.2: on, off, yes and no are texts.
    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":bool", ":timestamp"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    import re

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))
    return yaml.load(text, Loader)


class GoFeatureFlag:
    """As the relay's `cmd/relayproxy/ofrep/evaluate.go`."""

    def __init__(self):
        from gofeatureflag_python_provider.wasm import EvaluateWasm

        self.evaluator = EvaluateWasm(pool_size=1)
        self.evaluator.initialize()
        self.flags = {}

    def load(self, path):
        self.flags = parsed(path)

    def evaluate(self, key, context):
        from gofeatureflag_python_provider.wasm.model import WasmFlagContext, WasmInput

        if not isinstance(context.get("targetingKey"), str) or not context["targetingKey"]:
            return 400, {"key": key, "errorCode": "TARGETING_KEY_MISSING"}
        if key not in self.flags:
            return 404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": key}
        answer = self.evaluator.evaluate(
            WasmInput(
                flagKey=key,
                flag=self.flags[key],
                evalContext=context,
                flagContext=WasmFlagContext(defaultSdkValue=None),
            )
        )
        if answer.reason == "ERROR" or answer.errorCode:
            return 400, {"key": key, "errorCode": answer.errorCode, "errorDetails": answer.errorDetails}
        return 200, {
            "key": key,
            "value": answer.value,
            "reason": answer.reason,
            "variant": answer.variationType,
        }


class Flagd:
    """As flagd's `pkg/service/flag-evaluation/ofrep/handler.go`."""

    def __init__(self):
        from openfeature.contrib.tools.flagd.core import FlagdCore

        self.core = FlagdCore()
        self.flags = {}

    def load(self, path):
        whole = parsed(path)
        self.core.set_flags(json.loads(json.dumps(whole)))
        self.flags = whole.get("flags", {})

    def evaluate(self, key, context):
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.exception import FlagNotFoundError, OpenFeatureError

        who = EvaluationContext(
            context.get("targetingKey"), {k: v for k, v in context.items() if k != "targetingKey"}
        )
        unset = object()
        try:
            # No type is asked for, as in the server's ResolveAsAnyValue.
            answer = self.core._resolve(key, unset, who, None)
        except FlagNotFoundError:
            return 404, {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": key}
        except OpenFeatureError as error:
            return 400, {"key": key, "errorCode": error.error_code.value, "errorDetails": str(error)}
        said = {"key": key, "reason": str(answer.reason)}
        if answer.value is not unset:
            said.update(value=answer.value, variant=answer.variant)
        return 200, said


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def key(self):
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.headers.get("X-API-Key") or bearer

    def do_GET(self):
        self.answer(200, {"loads": SHARED["loads"], "evaluations": SHARED["evaluations"]})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/admin/v1/retriever/refresh":
            if SHARED["admin_key"] and self.key() != SHARED["admin_key"]:
                return self.answer(401, {"message": "invalid key"})
            return self.answer(200, {"refreshed": load()})
        if SHARED["key"] and self.key() not in (SHARED["key"], SHARED["admin_key"]):
            return self.answer(401, {"message": "invalid key"})
        head = "/ofrep/v1/evaluate/flags/"
        if not self.path.startswith(head):
            return self.answer(404, {"message": "Not Found"})
        from urllib.parse import unquote

        flag = unquote(self.path[len(head):])
        try:
            context = json.loads(body).get("context")
        except ValueError:
            context = None
        if not isinstance(context, dict):
            return self.answer(400, {"key": flag, "errorCode": "INVALID_CONTEXT"})
        with LOCK:
            SHARED["evaluations"] += 1
            status, said = SYSTEM.evaluate(flag, context)
        self.answer(status, said)


def load():
    """Reads the file; keeps the flags it has where that cannot be read, as the real ones do."""
    with LOCK:
        try:
            SYSTEM.load(SHARED["file"])
        except Exception as error:
            print(f"cannot load: {error}", file=sys.stderr, flush=True)
            return False
        SHARED["loads"] += 1
        return True


def poll(seconds):
    while True:
        time.sleep(seconds)
        load()


if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("--system", choices=["go-feature-flag", "flagd"], required=True)
    args.add_argument("--file", required=True)
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--poll", type=float, default=0)
    args.add_argument("--key", default="")
    args.add_argument("--admin-key", default="")
    args = args.parse_args()
    LOCK = threading.Lock()
    SYSTEM = GoFeatureFlag() if args.system == "go-feature-flag" else Flagd()
    SHARED = {
        "file": args.file,
        "key": args.key,
        "admin_key": args.admin_key,
        "loads": 0,
        "evaluations": 0,
    }
    if not load():
        sys.exit(1)
    if args.poll:
        threading.Thread(target=poll, args=(args.poll,), daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Server)
    print("ready", flush=True)
    server.serve_forever()
