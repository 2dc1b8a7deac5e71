# Runs the tests that the case names, each by itself, so that one that hangs costs its own time
# only. Read by guest.sh, and by `cargo xtask vm --native`.
#
# Lines that begin with `rmap-vm: ` are for xtask (results.rs); all others are what tests print.

# What the threads of rmap and of what it traces are at: said of a test that takes half of its time.
standing() {
    for task in /proc/[0-9]*/task/*; do
        read -r name < "$task/comm" || continue
        case $name in sh | sleep | timeout | kworker* | ksoftirqd* | rcu*) continue ;; esac
        # Threads of the kernel have no command line.
        [ -n "$(tr -d '\0' < "$task/cmdline")" ] || continue
        echo "stands: $task $name $(sed -n 's/^State:[[:space:]]*//p' "$task/status")" \
            "$(cat "$task/wchan") $(head -c 40 "$task/syscall")"
    done
} 2> /dev/null

suite() {
    status=0
    cd "$WORKSPACE" || return 1
    mkdir -p target/tmp
    : > "$RMAP_SKIPS"
    echo "rmap-vm: kernel $(uname -r)"
    "$RMAP_BIN" doctor 2>&1 | sed 's/^/rmap-vm: doctor /'
    for binary in $TESTS; do
        name=${binary##*/}
        name=${name%-*}
        # shellcheck disable=SC2086
        list=$(cd tests && "$WORKSPACE/$binary" --list --format terse $FILTERS)
        for test in $(printf '%s\n' "$list" | sed -n 's/: test$//p'); do
            case " $DONE " in *" $name::$test "*) continue ;; esac
            begun=$(date +%s)
            (
                trap 'kill "$!"; exit' TERM
                sleep $((TEST_SECONDS / 2)) > /dev/null 2>&1 &
                wait "$!" && standing
            ) &
            watcher=$!
            echo "rmap-vm: begin $name $test"
            (cd tests && timeout -k 10 "$TEST_SECONDS" \
                "$WORKSPACE/$binary" --exact "$test" --test-threads=1 --nocapture)
            ended=$?
            kill "$watcher"
            # A traced program may have left the line open.
            echo
            cat "$RMAP_SKIPS"
            : > "$RMAP_SKIPS"
            echo "rmap-vm: end $name $test $ended $(($(date +%s) - begun))"
            [ "$ended" = 0 ] || status=1
        done
    done
    return "$status"
}
