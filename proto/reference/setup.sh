#!/usr/bin/env bash
# Makes (once) the virtual environment in which the reference runs and prints the path of its python.
#   python=$(proto/reference/setup.sh) && "$python" -m wa_reference --help
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${WA_REFERENCE_VENV:-$root/target/reference-venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
mkdir -p "$(dirname "$venv")"

(
  flock 9
  stamp=$(cat "$here/requirements.txt" "$here/setup.sh" | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" != "$stamp $here" ]; then
    "${WA_REFERENCE_PYTHON:-python3}" -m venv --clear "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    # The package is used in place: `python -m wa_reference` works from every directory.
    echo "$here" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/wa_reference.pth"
    echo "$stamp $here" >"$venv/.stamp"
  fi
) 9>"$venv.lock"
echo "$venv/bin/python"
