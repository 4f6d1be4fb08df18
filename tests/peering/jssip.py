"""JsSIP as one text for a page: its modules and those that they need, with a loader for them."""

import json
import re
from pathlib import Path

from tests.peering.roster import NODE_MODULES

_REQUIRED = re.compile(r"\brequire\(\s*['\"]([^'\"]+)['\"]\s*\)")
_LOADER = """
globalThis.JsSIP = ((sources, needs) => {
  const loaded = {};
  const load = (name) => {
    if (!(name in loaded)) {
      const module = loaded[name] = {exports: {}};
      sources[name](module, module.exports, (needed) => load(needs[name][needed]));
    }
    return loaded[name].exports;
  };
  globalThis.process = {env: {}};
  return load(%s);
})({%s}, %s);
true
"""


def script() -> str:
    """An expression that defines ``JsSIP``, and is true."""
    sources: dict[str, str] = {}
    needs: dict[str, dict[str, str]] = {}
    start = _resolve("jssip", NODE_MODULES)
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if str(file) in sources:
            continue
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            text, found = f"module.exports = {text}", {}
        else:
            found = {name: _resolve(name, file.parent) for name in _REQUIRED.findall(text)}
        sources[str(file)] = text
        needs[str(file)] = {name: str(path) for name, path in found.items()}
        waiting += found.values()
    functions = ",".join(
        f"{json.dumps(name)}: function (module, exports, require) {{{text}\n}}"
        for name, text in sources.items()
    )
    return _LOADER % (json.dumps(str(start)), functions, json.dumps(needs))


def _resolve(name: str, directory: Path) -> Path:
    if name.startswith("."):
        return _file((directory / name).resolve())
    about = json.loads((NODE_MODULES / name / "package.json").read_text(encoding="utf-8"))
    main = about.get("browser") or about.get("main") or "index.js"
    return _file((NODE_MODULES / name / main).resolve())


def _file(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".js"), path / "index.js"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(path)
