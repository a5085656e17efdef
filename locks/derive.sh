#!/bin/bash
# Writes the locks of the images from pyproject.toml, held to the versions that locks/dev.txt tested.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
flags=(-q --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11
       --custom-compile-command "make lock")
for extra in operator runtime runtime-gpu; do
  "$uv" pip compile pyproject.toml --extra "$extra" "${flags[@]}" -c locks/dev.txt -o "locks/$extra.txt"
done
# Only what builds the project's own wheel; pyproject.toml names the same backend.
echo 'hatchling>=1.27' | "$uv" pip compile - "${flags[@]}" -o locks/build.txt
