"""Whether every dependency that a build of advect takes (not those of tests alone) says that it builds with the rust-version of
Cargo.toml: `python3 tests/platforms/msrv.py`. What a dependency says is its author's word; only a compiler of that version knows."""

import json
import subprocess
import sys

metadata = json.loads(
    subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1"], check=True, capture_output=True).stdout
)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def version(text):
    return tuple(int(part) for part in (text.split("-")[0] + ".0.0").split(".")[:3])


ours = packages[root]["rust_version"]
seen, waiting = set(), [root]
while waiting:
    at = waiting.pop()
    if at in seen:
        continue
    seen.add(at)
    for dependency in nodes[at]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            waiting.append(dependency["pkg"])
said = [packages[at] for at in seen if packages[at]["rust_version"]]
newer = sorted(f"{p['name']} {p['version']} needs {p['rust_version']}" for p in said if version(p["rust_version"]) > version(ours))
print(f"rust-version {ours}: {len(seen) - 1} dependencies, of which {len(said) - 1} name theirs")
if newer:
    sys.exit("newer than ours: " + "; ".join(newer))
