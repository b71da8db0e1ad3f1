# drill PROGRAM TEST runs one test of a program and shows what it prints. Sourced by drills that name single tests.

drill() {
    local said ok=0
    said=$(mktemp)
    cargo test --quiet --all-features --test "$1" -- --exact --nocapture "$2" | tee "$said" || ok=1
    # A name that is no test's passes, too, so the count is looked at.
    if ((ok == 0)) && ! grep -q '^test result: .*ok.* 1 passed;' "$said"; then
        printf '%s: %s has no test that is called %s\n' "$0" "$1" "$2" >&2
        ok=1
    fi
    rm -f "$said"
    return "$ok"
}
