# What `up` and `down` share: where the state is, and which processes are ours; and how packages are
# installed. Sourced, not run.
#
#   <run>/lock                  held by whoever changes anything below
#   <run>/zk_client.json        the configuration for clients
#   <run>/peers                 what stands between servers, if anything does, one line per way:
#                               cell, number of the one, of the other, quorum and election port
#   <run>/properties            Java's properties that all servers have besides, if there are any
#   <run>/<cell>/ports          one line per server: client, quorum and election port
#   <run>/<cell>/<n>/           pid, zoo.cfg, server.log and data of server n

cells_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

say() { printf 'cells: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Installs packages of Debian, if any are named; what apt says goes to standard error.
install_packages() {
    local as_root=()
    (($# > 0)) || return 0
    command -v apt-get >/dev/null ||
        die "needs what Debian packs as $*, and there is no apt-get here"
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || die "run this first: sudo apt-get install $*"
        as_root=(sudo -n)
    fi
    say "installing $*"
    # An old list of packages may do, so only the installation must succeed.
    "${as_root[@]}" apt-get update -qq >&2 9>&- </dev/null || say "apt-get update failed; going on"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "$@" >&2 9>&- </dev/null || die "cannot install $*"
}

# Prints where a program of Java is: on the search path, or where Debian puts it.
find_program() {
    local candidate
    command -v "$1" && return
    for candidate in /usr/lib/jvm/*/bin/"$1"; do
        [[ ! -x $candidate ]] || { printf '%s\n' "$candidate"; return; }
    done
    return 1
}

# Sets `run` and takes the lock, so that one process at a time changes the cells.
enter_run() {
    run=${ZKCELLS_RUN:-$cells_dir/run}
    mkdir -p "$run" || die "cannot make $run; set ZKCELLS_RUN to a directory of yours"
    run=$(cd "$run" && pwd -P)
    exec 9>"$run/lock"
    flock -w 120 9 || die "another cells/up or cells/down holds $run/lock for too long"
}

# Sets `pid` when the server of directory $1 runs. A pid from an old run may belong to anybody by
# now: it is ours only if the process was started with this very directory.
is_alive() {
    local words word state
    pid=
    [[ -r $1/pid ]] || return 1
    read -r pid <"$1/pid" || [[ -n $pid ]] || return 1
    [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
    # The process may end between any two lines here.
    mapfile -d '' -t words 2>/dev/null <"/proc/$pid/cmdline" || return 1
    for word in "${words[@]}"; do
        if [[ $word == "$1/zoo.cfg" ]]; then
            while read -r word state _; do
                [[ $word != State: ]] || break
            done 2>/dev/null <"/proc/$pid/status" || return 1
            [[ $state != Z ]]
            return
        fi
    done
    return 1
}

# Ends the servers of the given directories: asks first, and insists after 3 s.
stop_servers() {
    local dir tries alive
    for dir in "$@"; do
        if is_alive "$dir"; then
            # A server that a test has paused would not hear the first signal.
            kill -TERM "$pid" 2>/dev/null && kill -CONT "$pid" 2>/dev/null || true
        fi
    done
    for ((tries = 0; tries < 160; tries++)); do
        alive=()
        for dir in "$@"; do
            if is_alive "$dir"; then
                alive+=("$dir")
                if ((tries == 60)); then kill -KILL "$pid" 2>/dev/null || true; fi
            else
                rm -f "$dir/pid"
            fi
        done
        ((${#alive[@]} > 0)) || return 0
        sleep 0.05
    done
    die "these servers do not end: ${alive[*]}"
}

# Ends what runs from the state directory and has no pid file there any more: whoever started it was
# killed between two lines.
stop_strays() {
    local proc words word
    for proc in /proc/[0-9]*; do
        mapfile -d '' -t words 2>/dev/null <"$proc/cmdline" || continue
        for word in "${words[@]}"; do
            if [[ $word == "$run"/*/zoo.cfg ]]; then
                kill -KILL "${proc##*/}" 2>/dev/null || true
                break
            fi
        done
    done
}
