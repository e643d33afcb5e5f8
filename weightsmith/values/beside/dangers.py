"""What code can do to a machine, by the names that do it. A name is no judgement: honest code uses most of them."""

from __future__ import annotations

_PROGRAMS, _TEXT, _PICKLE = "starts programs", "runs text as code", "unpickles"
_NATIVE, _NETWORK, _DELETES = "loads native code", "uses the network", "deletes files"
_IMPORTS, _WITHIN, _TRUSTS = (
    "imports by name",
    "reaches into Python itself",
    "runs code of another checkpoint",
)

# Everything in these modules, and importing them.
_MODULES = {
    "subprocess": _PROGRAMS, "pty": _PROGRAMS, "pexpect": _PROGRAMS,
    "builtins": _TEXT, "code": _TEXT, "codeop": _TEXT, "runpy": _TEXT,
    "dill": _PICKLE, "cloudpickle": _PICKLE, "shelve": _PICKLE, "torch.package": _PICKLE,
    "ctypes": _NATIVE, "cffi": _NATIVE, "torch.utils.cpp_extension": _NATIVE, "numpy.ctypeslib": _NATIVE,
    "socket": _NETWORK, "socketserver": _NETWORK, "ssl": _NETWORK, "urllib": _NETWORK, "urllib3": _NETWORK,
    "requests": _NETWORK, "httpx": _NETWORK, "aiohttp": _NETWORK, "http": _NETWORK, "ftplib": _NETWORK,
    "smtplib": _NETWORK, "telnetlib": _NETWORK, "xmlrpc": _NETWORK, "paramiko": _NETWORK, "websocket": _NETWORK,
    "websockets": _NETWORK, "wget": _NETWORK, "torch.hub": _NETWORK,
    "importlib": _IMPORTS, "imp": _IMPORTS, "zipimport": _IMPORTS, "pkgutil": _IMPORTS,
}  # fmt: skip
# Of these modules what does nothing of the kind.
_HARMLESS = frozenset({
    "urllib.parse", "importlib.metadata", "importlib.resources", "importlib.util.find_spec", "http.HTTPStatus",
})  # fmt: skip
# Names that need no import.
BUILT_IN = frozenset({"eval", "exec", "compile"})
_CALLS = {
    **dict.fromkeys(BUILT_IN, _TEXT),
    "pickle.load": _PICKLE, "pickle.loads": _PICKLE, "pickle.Unpickler": _PICKLE, "_pickle.load": _PICKLE,
    "_pickle.loads": _PICKLE, "marshal.load": _PICKLE, "marshal.loads": _PICKLE, "joblib.load": _PICKLE,
    "pandas.read_pickle": _PICKLE, "torch.load": _PICKLE, "torch.jit.load": _PICKLE,
    "torch.ops.load_library": _NATIVE, "torch.classes.load_library": _NATIVE,
    "os.system": _PROGRAMS, "os.popen": _PROGRAMS, "os.fork": _PROGRAMS, "os.forkpty": _PROGRAMS,
    "os.kill": _PROGRAMS, "os.startfile": _PROGRAMS, "asyncio.create_subprocess_exec": _PROGRAMS,
    "asyncio.create_subprocess_shell": _PROGRAMS,
    "os.remove": _DELETES, "os.unlink": _DELETES, "os.rmdir": _DELETES, "os.removedirs": _DELETES,
    "shutil.rmtree": _DELETES, "shutil.move": _DELETES,
    "huggingface_hub.hf_hub_download": _NETWORK, "huggingface_hub.snapshot_download": _NETWORK,
    "trust_remote_code=True": _TRUSTS, "coding": _TEXT,
}  # fmt: skip
# os.execv, os.spawnl and their sisters.
_FAMILIES = {"os.exec": _PROGRAMS, "os.spawn": _PROGRAMS, "os.posix_spawn": _PROGRAMS}
# Names that lead from any object to all of Python.
INWARD = frozenset({"__import__", "__builtins__", "__subclasses__", "__globals__", "__loader__"})
# Of these modules also `getattr` is named, and everything at once (`from os import *`).
REFLECTED = frozenset({"os", "posix", "shutil", "sys", "pickle", "marshal"}) | _MODULES.keys()


def kind_of(name: str) -> str | None:
    """What a dotted name does, as it is imported or used; None where it is none of the listed."""
    if name in _HARMLESS or any(name.startswith(f"{one}.") for one in _HARMLESS):
        return None
    if name in INWARD or name.startswith("getattr("):
        return _WITHIN
    head, _, rest = name.rpartition(".")
    if rest == "*":
        return _WITHIN if head in REFLECTED else None
    found = _CALLS.get(name) or next((kind for f, kind in _FAMILIES.items() if name.startswith(f)), None)
    return found or _of_module(name)


def _of_module(name: str) -> str | None:
    """Of the innermost listed module that the name lies in."""
    while name:
        if name in _MODULES:
            return _MODULES[name]
        name = name.rpartition(".")[0]
    return None
