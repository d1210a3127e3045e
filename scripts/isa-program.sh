# Builds the program of benches/isa and puts its path into `program`. Sourced after lib.sh.
# shellcheck shell=bash

program=$(cargo bench --locked --profile dev --bench isa --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"isa".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
if [ ! -x "$program" ]; then
    # Once more, for the messages.
    cargo bench --locked --profile dev --bench isa --no-run >&2 || exit
    fail "no program was built"
fi
