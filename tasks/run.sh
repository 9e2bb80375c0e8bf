# `sh tasks/run.sh STAGE` runs one stage: the command that dvc.yaml gives DVC.
#
# The shell that DVC starts may find no python, or another one than DVC's own. Tried in this order: the python that runs
# DVC, the activated environment, .venv here or in a folder above, python3 and python of PATH. The first one that has
# the project's libraries is taken.

# The pythons in the words of a command line; `ps` does not say which blanks belong to a path.
in_words() {
    case $1 in
        *" -m dvc"*) printf '%s\n' "${1%% -m dvc*}" ;;
        */bin/dvc*)
            place=${1%%/bin/dvc*}
            while :; do
                printf '%s\n' "$place/bin/python"
                case $place in
                    *" /"*) place=/${place#*" /"} ;;
                    *) break ;;
                esac
            done
            ;;
    esac
}

candidates() {
    pid=$PPID
    for _ in 1 2 3 4; do
        case $pid in "" | 0 | 1) break ;; esac
        if [ -r "/proc/$pid/cmdline" ]; then
            first=$(tr '\0' '\n' <"/proc/$pid/cmdline" | head -n 1)
            case $first in
                /*python*) printf '%s\n' "$first" ;;
                */*python*) printf '%s\n' "$(cd "/proc/$pid/cwd" && pwd -P)/$first" ;;
                *python*) command -v "$first" ;;
            esac
            pid=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$pid/status")
        else
            in_words "$(ps -ww -o args= -p "$pid")"
            pid=$(ps -o ppid= -p "$pid" | tr -d ' ')
        fi
    done
    [ -n "$VIRTUAL_ENV" ] && printf '%s\n' "$VIRTUAL_ENV/bin/python"
    folder=$(pwd -P)
    while [ -n "$folder" ]; do
        printf '%s\n' "$folder/.venv/bin/python"
        folder=${folder%/*}
    done
    command -v python3
    command -v python
}

fits() {
    # Without the working directory, where a folder may have a library's name.
    code='import importlib.util, sys; sys.path = [p for p in sys.path if p]; find = importlib.util.find_spec
sys.exit(not all(find(name) for name in ("dvc", "polars", "torch")))'
    [ -x "$1" ] && "$1" -c "$code" </dev/null 2>/dev/null
}

python=$(candidates 2>/dev/null | while IFS= read -r one; do
    if fits "$one"; then
        printf '%s\n' "$one"
        break
    fi
done)
if [ -z "$python" ]; then
    echo "steerwright: no python with the libraries of this project was found: not the one that runs dvc, none activated," \
        "no .venv here or above, none on PATH; install as README says, then start DVC as .venv/bin/dvc" >&2
    exit 2
fi
exec "$python" -m tasks "$@"
