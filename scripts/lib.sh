# What the scripts beside this file share. Sourced: it enters the repository's root, and gives the loader of
# Vulkan drivers a folder of its own where there is none, or it complains at every start.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# Prints the comment at the head of the calling script, if its first argument asks for help.
help_if_asked() {
    case "${1-}" in
    -h | --help)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
        exit 0
        ;;
    esac
}

if [ "$(uname -s)" = Linux ] && [ -z "${XDG_RUNTIME_DIR-}" ]; then
    XDG_RUNTIME_DIR=${TMPDIR:-/tmp}/wgrad-runtime-$(id -u)
    mkdir -p -m 700 "$XDG_RUNTIME_DIR"
    export XDG_RUNTIME_DIR
fi

# Installs Debian or Ubuntu packages. Anywhere else it says what may be missing and goes on: the same
# things come under other names there.
install() {
    if ! command -v apt-get >/dev/null; then
        say "perhaps to be installed (Debian's names): $*"
        return
    fi
    local root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "run as root, once: apt-get install $*"
        root=(sudo)
    fi
    say "installing $*"
    "${root[@]}" apt-get update -qq >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

has_vulkan_driver() {
    [ -n "${VK_DRIVER_FILES-}${VK_ICD_FILENAMES-}" ] && return
    local folder
    for folder in /usr/share /usr/local/share /etc "${XDG_DATA_HOME:-${HOME-}/.local/share}"; do
        compgen -G "$folder/vulkan/icd.d/*.json" >/dev/null && return
    done
    return 1
}

# The compiler, and on Linux a Vulkan driver: the software one where there is none.
prepare() {
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME-}/.cargo}/bin
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs, then try again"
    [ "$(uname -s)" = Linux ] || return 0
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    if ! has_vulkan_driver; then
        missing+=(mesa-vulkan-drivers libvulkan1)
    elif ! (ldconfig -p 2>/dev/null || /sbin/ldconfig -p) | grep 'libvulkan\.so\.1' >/dev/null; then
        missing+=(libvulkan1)
    fi
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}

# The manifest of SwiftShader, a second software driver that browsers bring along; empty if there is none.
swiftshader() {
    local file
    for file in /usr/lib/chromium*/ /usr/lib64/chromium*/ /opt/google/chrome*/; do
        file+=vk_swiftshader_icd.json
        [ ! -f "$file" ] || { echo "$file" && return; }
    done
}

# An MPI library with what starts programs, and libclang, which reads its headers.
prepare_mpi() {
    local missing=()
    command -v mpicc >/dev/null || missing+=(libopenmpi-dev)
    command -v mpirun >/dev/null || missing+=(openmpi-bin)
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        (ldconfig -p 2>/dev/null || /sbin/ldconfig -p) | grep libclang >/dev/null || missing+=(libclang-dev)
    [ "$(uname -s)" != Linux ] || [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}
