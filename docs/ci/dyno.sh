#!/bin/sh
# What CI does with dyno: compare the merge base with the head of a change, and print the comment.
# Kept apart from the services' own files so that it can be run anywhere:
#
#   DYNO_SUITE=mysuite BASE=origin/main HEAD=HEAD docs/ci/dyno.sh
#
# writes out/report.html, out/report.json and comment.md, and ends with dyno's code
# (docs/exit-codes.md): 1 if something got slower or is newly failing.
set -eu

: "${DYNO_SUITE:?the suite to run}" "${BASE:?the branch that the change is for}"
head=$(git rev-parse --verify "${HEAD:-HEAD}^{commit}")
base=$(git merge-base "$BASE" "$head")

# The comment of a job of a matrix is its own by DYNO_MARKER; DYNO_REPORT_URL is where the page will be.
set -- run "$DYNO_SUITE" "$base" "$head" --quiet --fail-on-regression --report out --markdown
[ -z "${DYNO_REPORT_URL:-}" ] || set -- "$@" --report-url "$DYNO_REPORT_URL"
[ -z "${DYNO_MARKER:-}" ] || set -- "$@" --marker "$DYNO_MARKER"
[ -z "${DYNO_ARGUMENTS:-}" ] || set -- "$@" $DYNO_ARGUMENTS
"${DYNO:-dyno}" "$@" > comment.md
