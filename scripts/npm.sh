# Sourced by scripts that need a file of an npm package.

# fetch DIRECTORY PACKAGE VERSION FILE SHA256: one file of the package, into the directory, once. Fails
# where it can't be had or isn't the one that was meant.
fetch() {
    kept=$1/$(basename "$4")
    if [ -f "$kept" ] && echo "$5  $kept" | sha256sum --check --status; then return 0; fi
    command -v npm >/dev/null 2>&1 || return 1
    printf 'fetching %s %s from the npm registry\n' "$2" "$3" >&2
    rm -rf "$1/fetch"
    mkdir -p "$1/fetch"
    (
        cd "$1/fetch"
        npm pack --silent "$2@$3" </dev/null >&2 && tar -xzf ./*.tgz "package/$4"
    ) && echo "$5  $1/fetch/package/$4" | sha256sum --check --status && mv "$1/fetch/package/$4" "$kept" ||
        printf '%s %s cannot be had\n' "$2" "$3" >&2
    rm -rf "$1/fetch"
    [ -f "$kept" ]
}
