# What scripts about matrix units share: a folder with Debian's unstable suite in it, whose Mesa has a lavapipe with units
# (half a gigabyte; needs root, apt and mmdebstrap, which it installs). Sourced after lib.sh, with `folder` set.
# shellcheck shell=bash

leave() {
    say "SKIPPED: matrix units: $*"
    exit 0
}

# The machine's own Debian source, for another suite.
source_of_unstable() {
    local file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk 'BEGIN { RS = "" } NR == 1' "$file" | sed 's/^Suites:.*/Suites: sid/; s/^Components:.*/Components: main/'
        return
    done
    return 1
}

make_folder() {
    local source apart=()
    command -v mmdebstrap >/dev/null || install mmdebstrap || return
    source=$(mktemp --suffix .sources)
    source_of_unstable >"$source" || return
    rm -rf --one-file-system "$folder.part"
    # It mounts the machine's devices inside. In a namespace of its own they are gone when it ends, however it ends, and
    # nothing that removes a half-made folder can reach them. Who may not have one can mount nothing either.
    unshare --mount --propagation private true 2>/dev/null && apart=(unshare --mount --propagation private)
    timeout 300 "${apart[@]}" mmdebstrap --quiet --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='APT::Install-Recommends "false"' --include=mesa-vulkan-drivers,libvulkan1,spirv-tools,ca-certificates \
        sid "$folder.part" "$source" >&2 || return
    rm "$source"
    # One that was made for fewer tests gives way.
    rm -rf --one-file-system "$folder"
    mv "$folder.part" "$folder"
}

inside() {
    chroot "$folder" env CI=1 XDG_RUNTIME_DIR=/tmp RUST_BACKTRACE=0 VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
        VK_ICD_FILENAMES=/usr/share/vulkan/icd.d/lvp_icd.json "$@"
}

# The folder, made if it is not there. Where it cannot be made, one line says so and nothing has failed.
ready() {
    [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null || leave "Debian or Ubuntu is needed"
    [ "$(id -u)" = 0 ] || leave "root is needed"
    [ -x "$folder/usr/bin/spirv-val" ] || make_folder || leave "no folder with Debian's unstable suite could be made"
    # Where the test programs look for their files was written into them.
    mkdir -p "$folder$PWD"
    cp -r tests "$folder$PWD/"
}

# Builds test programs and puts them where `inside` finds them as wgrad-NAME.
put() {
    local name program
    for name; do
        program=$(cargo test --locked --no-run --message-format=json --test "$name" 2>/dev/null |
            python3 -c 'import json, sys
print([built["executable"] for built in map(json.loads, sys.stdin) if built.get("executable") and "test" in built["target"]["kind"]][-1])')
        cp "$program" "$folder/usr/local/bin/wgrad-$name"
    done
}
