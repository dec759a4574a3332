#!/usr/bin/env bash
# Creates .venv from uv.lock; brings uv when there is none. Run by make.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null \
      && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

bring_uv() {
  local python
  python=$(find_python)
  if [ -z "$python" ]; then
    echo "Python 3.11 or newer was not found: install it, or set PYTHON=/path/to/python" >&2
    exit 1
  fi
  echo "Installing uv into .tools" >&2
  if "$python" -m venv .tools >/dev/null 2>&1; then
    .tools/bin/python -m pip install --quiet uv >&2
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip install --quiet --target .tools/lib uv >&2
    mkdir -p .tools/bin && ln -sf ../lib/bin/uv .tools/bin/uv
  else
    echo "uv could not be installed: on Debian and Ubuntu, apt-get install python3-venv; or install uv yourself" >&2
    exit 1
  fi
}

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  [ -x .tools/bin/uv ] || bring_uv
  uv=.tools/bin/uv
fi
if [ "${1:-}" = "--print-uv" ]; then
  echo "$uv"
  exit 0
fi

echo "Creating .venv from uv.lock"
"$uv" sync --frozen --quiet --all-extras --all-groups

# LightGBM's wheel wants the system's OpenMP; where there is none, scikit-learn's wheel has one to lend.
bundled=$(find .venv/lib/ -path '*scikit_learn.libs/libgomp-*' -print -quit)
if [ -n "$bundled" ]; then
  mkdir -p .venv/lib/openmp
  ln -sf "$PWD/$bundled" .venv/lib/openmp/libgomp.so.1
fi
touch .venv/.ready
