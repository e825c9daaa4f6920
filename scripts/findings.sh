# shellcheck shell=sh
# What the check-* shell scripts share, as findings.py is for those in Python.

# tree_files GLOB...: the files of the tree, git's ignored ones left out.
tree_files() {
    git ls-files -co --exclude-standard -- "$@" | while read -r file; do
        [ ! -f "$file" ] || echo "$file"
    done
}

# findings SED COMMAND...: run the command and print, once each, the lines that SED (sed -n)
# makes of its output. Fails if there was one, or if the command failed for any other reason;
# then its output is shown as it is.
findings() {
    pattern=$1
    shift
    if said=$("$@" 2>&1); then failed=; else failed=1; fi
    found=$(printf '%s\n' "$said" | sed -n "s|^$PWD/||; $pattern" | sort -u -t: -k1,1 -k2,2n -k3)
    [ -z "$found$failed" ] || printf '%s\n' "${found:-$said}"
    [ -z "$found$failed" ]
}
