#!/bin/sh
# Installs FirstVisit on a machine with systemd, and removes it again. The guide is README.md beside this file.
set -eu

PREFIX=/opt/firstvisit
STATE=/var/lib/firstvisit
CENTRAL=/var/lib/firstvisit-central
ETC=/etc/firstvisit
UNITS=/etc/systemd/system
COMMAND=/usr/local/bin/firstvisit
SETUP=/usr/local/sbin/firstvisit-setup
GUIDES=/usr/local/share/doc/firstvisit
SERVICES="firstvisit-node firstvisit-kiosk firstvisit-central"

usage() {
    cat <<'USAGE'
Usage: install.sh node|central [--wheel FILE | --from DIR] [--root DIR]
       install.sh adopt     [--name NAME ...] [--root DIR]
       install.sh --uninstall [--root DIR]

  node       install the node and the desk's kiosk
  central    install the central server
  adopt      after "firstvisit init" or "central init": move the configuration to /etc/firstvisit and
             HOME's databases to HOME/databases, and hand keys and databases to the users of the services
  --name     with adopt: the name or address by which the desk's tablets reach this machine; gives the kiosk a
             certificate for it, of an authority of its own that the tablets are told to trust
  --wheel    install this wheel
  --from     install this checkout (default: the one this script stands in)
  --root     install under DIR instead of /, start nothing, ask apt for nothing
  --uninstall  remove program, units and commands; configuration, keys and records stay

Environment: FIRSTVISIT_PIP_ARGS is handed to "pip install", e.g. "--index-url https://mirror.example/simple".

Example: sudo sh install.sh node --wheel firstvisit-0.2.0-py3-none-any.whl
USAGE
}

die() {
    printf 'install.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

say() { printf '%s\n' "$1"; }

changed() {
    changes=$((changes + 1))
    printf '  %-9s %s\n' "$1" "$2"
}

# Run a command whose chatter matters only when it fails: quietly "what" command...
quietly() {
    what=$1
    shift
    "$@" >"$log" 2>&1 || {
        cause=$(grep -m 1 '^ERROR' "$log") || cause=$(tail -n 1 "$log")
        die "$what failed: ${cause:-it gave no reason}"
    }
}

# put SOURCE TARGET MODE: a file, written only where it differs
put() {
    if [ -f "$root$2" ] && cmp -s "$1" "$root$2"; then return; fi
    install -D -m "$3" "$1" "$root$2" 2>"$log" || die "cannot write $root$2: $(tail -n 1 "$log")"
    changed installed "$root$2"
}

# link TARGET NAME: a symbolic link, made only where it differs
link() {
    if [ "$(readlink "$root$2" 2>/dev/null)" = "$1" ]; then return; fi
    { mkdir -p "$root${2%/*}" && ln -sfn "$1" "$root$2"; } 2>"$log" || die "cannot link $root$2: $(tail -n 1 "$log")"
    changed linked "$root$2 -> $1"
}

find_python() {
    hidden=''
    for python in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        where=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
        case $root:$where in
        :/home/* | :/root/*) hidden=$where ;; # ProtectHome= in the units
        *) return ;;
        esac
    done
    [ -z "$hidden" ] || die "$hidden: the services cannot see a Python in a home directory: install the Debian package python3"
    die "Python 3.11 or newer is needed and none is on the PATH"
}

libraries_there() {
    found=$(ldconfig -p 2>/dev/null) || return 1
    case $found in *libGL.so.1*) ;; *) return 1 ;; esac
    case $found in *libgthread-2.0.so.0*) ;; *) return 1 ;; esac
}

# OpenCV's wheel is linked against these two and does not carry them.
install_libraries() {
    if libraries_there; then return; fi
    if [ -n "$root" ] || ! command -v apt-get >/dev/null; then
        say "  missing   system libraries: install the Debian packages libgl1 and libglib2.0-0 (or libGL.so.1 and libgthread-2.0.so.0)"
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    if ! apt-get install -y -q libgl1 libglib2.0-0 >"$log" 2>&1; then
        apt-get update -q >"$log" 2>&1 || true # a mirror that is away shows in the next line
        quietly "apt-get install libgl1 libglib2.0-0" apt-get install -y -q libgl1 libglib2.0-0
    fi
    changed installed "Debian packages libgl1 libglib2.0-0"
}

# Set $wheel: the one given, or one built from the checkout. Leaves it empty where this script belongs to the
# installed program itself.
find_wheel() {
    if [ -n "$wheel" ]; then
        [ -f "$wheel" ] || die "$wheel: no such wheel" 2
        return
    fi
    if [ -z "$checkout" ]; then
        case $here in
        "$root$PREFIX"/*) return ;;
        esac
        checkout=${here%/*}
        [ -f "$checkout/pyproject.toml" ] ||
            die "no checkout around $here: give --wheel FILE or --from DIR" 2
    fi
    [ -f "$checkout/pyproject.toml" ] || die "$checkout: no checkout of FirstVisit (no pyproject.toml)" 2
}

fingerprint() {
    if [ -n "$wheel" ]; then
        sha256sum <"$wheel"
    else
        (
            cd "$checkout"
            find pyproject.toml models camera sync edge config systemd -type f ! -path '*/__pycache__/*' |
                LC_ALL=C sort | xargs -d '\n' sha256sum
        ) | sha256sum
    fi
}

install_program() {
    find_wheel
    venv=$root$PREFIX
    if [ -z "$wheel$checkout" ]; then
        say "  kept      the program in $venv, which this script belongs to"
        return
    fi
    print=$(fingerprint)
    if [ -x "$venv/bin/firstvisit" ] && [ "$(cat "$venv/.installed" 2>/dev/null)" = "$print" ]; then return; fi
    find_python
    if [ ! -x "$venv/bin/python" ]; then
        "$python" -c 'import ensurepip' 2>/dev/null ||
            die "$python cannot make virtual environments: install the Debian package python3-venv"
        quietly "making the virtual environment $venv" "$python" -m venv "$venv"
    fi
    if [ -z "$wheel" ]; then
        say "  building  the wheel from $checkout"
        quietly "building the wheel" "$venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$scratch" "$checkout"
        wheel=$(echo "$scratch"/*.whl)
    fi
    say "  pip       installing ${wheel##*/} and what it needs (some minutes on a slow line)"
    # The second call replaces a build of the same version, which pip would otherwise leave in place.
    # shellcheck disable=SC2086 # the variable holds several words
    quietly "pip install" "$venv/bin/python" -m pip install --quiet ${FIRSTVISIT_PIP_ARGS:-} "$wheel"
    quietly "pip install" "$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
    [ -x "$venv/bin/firstvisit" ] || die "${wheel##*/}: not a wheel of FirstVisit (it brought no command firstvisit)" 2
    printf '%s\n' "$print" >"$venv/.installed"
    changed installed "$venv"
    replaced=yes
}

install_commands() {
    site=$("$root$PREFIX/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>"$log") ||
        die "$root$PREFIX/bin/python does not run: $(tail -n 1 "$log")"
    cat >"$scratch/command" <<COMMAND
#!/bin/sh
# What root makes in HOME must stay writable for the services: their group may write.
umask 007
export FIRSTVISIT_MODELS="\${FIRSTVISIT_MODELS:-$STATE/models}"
# ONNX Runtime reports to its makers unless told not to before it is loaded.
export ORT_DISABLE_TELEMETRY=1
exec $PREFIX/bin/firstvisit "\$@"
COMMAND
    put "$scratch/command" "$COMMAND" 0755
    cat >"$scratch/setup" <<SETUP
#!/bin/sh
exec /bin/sh ${site#"$root"}/edge/share/systemd/install.sh "\$@"
SETUP
    put "$scratch/setup" "$SETUP" 0755
    put "$here/README.md" "$GUIDES/installer.md" 0644
    put "${here%/*}/config/README.md" "$GUIDES/configuration.md" 0644
}

install_unit() {
    put "$here/$1.service" "$UNITS/$1.service" 0644
    # RestartSteps= came with systemd 254; older ones restart at an even pace.
    version=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 254 ]; then
        put "$here/backoff.conf" "$UNITS/$1.service.d/backoff.conf" 0644
    fi
}

# Users, directories, owners and modes, by systemd's own tools.
settle() {
    if [ "$(id -u)" -ne 0 ]; then
        say "  skipped   users and owners: only root can set them"
        return
    fi
    for tool in systemd-sysusers systemd-tmpfiles; do
        command -v $tool >/dev/null || die "$tool is missing: install the Debian package systemd"
    done
    quietly "systemd-sysusers" systemd-sysusers ${root:+"--root=$root"} "$root/etc/sysusers.d/firstvisit.conf"
    quietly "systemd-tmpfiles" systemd-tmpfiles ${root:+"--root=$root"} --create "$root/etc/tmpfiles.d/firstvisit.conf"
}

systemd_runs() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

reload() {
    if ! systemd_runs; then
        say "  skipped   systemctl: systemd does not run here"
        return
    fi
    quietly "systemctl daemon-reload" systemctl daemon-reload
    if [ "$replaced" = yes ]; then
        for service in $SERVICES; do
            [ ! -f "$UNITS/$service.service" ] || quietly "restarting $service" systemctl try-restart "$service"
        done
    fi
}

do_install() {
    say "FirstVisit $role: installing under ${root:-/}"
    [ "$role" = central ] || install_libraries
    install_program
    install_commands
    put "$here/firstvisit.sysusers.conf" /etc/sysusers.d/firstvisit.conf 0644
    put "$here/firstvisit.tmpfiles.conf" /etc/tmpfiles.d/firstvisit.conf 0644
    put "${here%/*}/config/$role.example.toml" "$ETC/$role.example.toml" 0644
    if [ "$role" = node ]; then
        install_unit firstvisit-node
        install_unit firstvisit-kiosk
    else
        install_unit firstvisit-central
    fi
    settle
    if [ "$changes" -eq 0 ]; then
        say "Nothing to do: everything is in place already."
    else
        reload
        say "Done: $changes things changed."
    fi
    say ""
    "next_$role"
}

next_node() {
    cat <<NEXT
Next, as root:
  firstvisit models install
  firstvisit init $STATE/home --site SITE
  firstvisit-setup adopt
  editor $ETC/node.toml        # cameras and place: $GUIDES/configuration.md
  firstvisit check-config $STATE/home
  firstvisit kiosk add-user --home $STATE/home NAME --role manager
  systemctl enable --now firstvisit-node firstvisit-kiosk
  firstvisit doctor --home $STATE/home
To send to a central server, with the text that "firstvisit central invite" prints there:
  firstvisit join --home $STATE/home --invite TEXT
  firstvisit-setup adopt && systemctl restart firstvisit-node
NEXT
}

next_central() {
    cat <<NEXT
Next, as root, HOST being the name by which the nodes reach this machine (its broker: apt-get install mosquitto):
  firstvisit central init $CENTRAL --name HOST --broker mqtts://HOST:8883
  firstvisit central broker-config --dir $CENTRAL --out /etc/mosquitto/firstvisit   # and as its README says
  firstvisit central add-user --dir $CENTRAL NAME
  firstvisit-setup adopt
  systemctl enable --now firstvisit-central
For every node, and then with the fingerprint that it shows:
  firstvisit central invite --dir $CENTRAL --node NODE
  firstvisit central confirm --dir $CENTRAL NODE FINGERPRINT
NEXT
}

# adopt_config DIRECTORY FILE TARGET: the configuration lives under /etc, the directory keeps a link to it
adopt_config() {
    file=$root$1/$2
    if [ -L "$file" ] || [ ! -f "$file" ]; then return; fi
    target=$root$3
    if [ -f "$target" ] && ! cmp -s "$file" "$target"; then
        mv "$target" "$target.before-adopt"
        changed kept "$target.before-adopt"
    fi
    { mkdir -p "${target%/*}" && cp "$file" "$target" && chmod 0640 "$target" && ln -sfn "$3" "$file"; } 2>"$log" ||
        die "cannot move $file to $target: $(tail -n 1 "$log")"
    changed moved "$file -> $target"
}

# The services may write the databases, and must not be able to write the folder that holds the configuration and
# central.pub: the databases get a folder of their own, HOME keeps links to them.
adopt_databases() {
    home=$root$STATE/home
    [ -d "$home" ] || return 0
    {
        mkdir -p "$home/databases" && { [ -e "$home/run.lock" ] || : >"$home/run.lock"; }
    } 2>"$log" || die "cannot write $home: $(tail -n 1 "$log")"
    for database in firstvisit.db keys.db; do
        file=$home/$database
        if [ -L "$file" ] || [ ! -f "$file" ]; then continue; fi
        for service in firstvisit-node firstvisit-kiosk; do
            if systemd_runs && systemctl is-active --quiet "$service"; then
                die "$service is running: systemctl stop $service, and adopt again"
            fi
        done
        for part in "$file" "$file-wal" "$file-shm"; do
            [ ! -f "$part" ] || mv "$part" "$home/databases/" 2>"$log" || die "cannot move $part: $(tail -n 1 "$log")"
        done
        ln -s "databases/$database" "$file" 2>"$log" || die "cannot link $file: $(tail -n 1 "$log")"
        changed moved "$file -> $home/databases/$database"
    done
}

# Before the configuration moves: the command writes kiosk.tls into it.
certify_kiosk() {
    [ -n "$names" ] || return 0
    [ -f "$root$STATE/home/firstvisit.toml" ] || die "$root$STATE/home: no HOME there whose kiosk could have a certificate" 2
    # shellcheck disable=SC2086 # one option a name; no name holds a space
    (umask 007 && "$root$PREFIX/bin/firstvisit" kiosk ca --home "$root$STATE/home" $names) >"$log" 2>&1 ||
        die "firstvisit kiosk ca: $(tail -n 1 "$log")"
    cat "$log"
    changed made "$root$STATE/home/kiosk-tls"
}

do_adopt() {
    found=no
    for config in "$STATE/home/firstvisit.toml" "$CENTRAL/central.toml"; do
        if [ -f "$root$config" ] || [ -L "$root$config" ]; then found=yes; fi
    done
    [ $found = yes ] || die "neither $root$STATE/home nor $root$CENTRAL is there: run firstvisit init (or central init) first" 2
    [ -f "$root/etc/tmpfiles.d/firstvisit.conf" ] || die "FirstVisit is not installed under ${root:-/}" 2
    certify_kiosk
    adopt_config "$STATE/home" firstvisit.toml "$ETC/node.toml"
    adopt_config "$CENTRAL" central.toml "$ETC/central.toml"
    adopt_databases
    settle
    say "Keys, databases and configuration are in the hands of the services."
}

remove() {
    if [ ! -e "$root$1" ] && [ ! -L "$root$1" ]; then return; fi
    rm -rf "$root$1" 2>"$log" || die "cannot remove $root$1: $(tail -n 1 "$log")"
    changed removed "$root$1"
}

do_uninstall() {
    for service in $SERVICES; do
        if systemd_runs && [ -f "$UNITS/$service.service" ]; then
            quietly "stopping $service" systemctl disable --now "$service"
        fi
        remove "$UNITS/$service.service"
        remove "$UNITS/$service.service.d/backoff.conf"
        rmdir "$root$UNITS/$service.service.d" 2>/dev/null || true # an administrator's own drop-in stays
    done
    remove /etc/sysusers.d/firstvisit.conf
    remove /etc/tmpfiles.d/firstvisit.conf
    remove "$COMMAND"
    remove "$SETUP"
    remove "$GUIDES"
    remove "$PREFIX"
    if systemd_runs; then quietly "systemctl daemon-reload" systemctl daemon-reload; fi
    [ "$changes" -gt 0 ] || say "Nothing to do: FirstVisit is not installed under ${root:-/}."
    for kept in "$STATE" "$CENTRAL" "$ETC"; do
        if [ -d "$root$kept" ]; then say "Kept: $root$kept"; fi
    done
}

main() {
    here=$(dirname "$(readlink -f "$0")")
    role='' wheel='' checkout='' root='' names='' changes=0 replaced=no
    while [ $# -gt 0 ]; do
        case $1 in
        node | central | adopt)
            [ -z "$role" ] || die "$role or $1, not both" 2
            role=$1
            ;;
        --uninstall) role=uninstall ;;
        --wheel | --from | --root | --name)
            [ $# -gt 1 ] || die "$1 wants a value" 2
            case $1 in
            --wheel) wheel=$2 ;;
            --from) checkout=$2 ;;
            --root) root=$2 ;;
            --name)
                case $2 in '' | -* | *[!A-Za-z0-9.:-]*) die "--name $2: neither an address nor a host's name" 2 ;; esac
                names="$names --name $2"
                ;;
            esac
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "$1: not understood (install.sh --help)" 2 ;;
        esac
        shift
    done
    [ -n "$role" ] || die "say what to install: node or central (install.sh --help)" 2
    [ -z "$wheel" ] || [ -z "$checkout" ] || die "--wheel or --from, not both" 2
    [ -z "$names" ] || [ "$role" = adopt ] || die "--name goes with adopt" 2
    if [ -n "$root" ]; then
        [ -d "$root" ] || die "$root: no such directory" 2
        root=$(readlink -f "$root")
        [ "$root" != / ] || root=''
    fi
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then die "only root can install: sudo sh $0 ..."; fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    log=$scratch/log
    case $role in
    node | central) do_install ;;
    adopt) do_adopt ;;
    uninstall) do_uninstall ;;
    esac
}

main "$@"
