#!/bin/sh
# Posts comment.md to a pull or merge request, or updates the comment that an earlier run made: it is
# the one with the same hidden first line. Needs curl and jq.
#
#   github: API (https://api.github.com), REPOSITORY (owner/name), NUMBER, TOKEN
#   gitlab: API (https://gitlab.com/api/v4), REPOSITORY (the project's number), NUMBER, TOKEN
set -eu

service=${1:?github or gitlab}
: "${API:?}" "${REPOSITORY:?}" "${NUMBER:?}" "${TOKEN:?}"
marker=$(head -n 1 comment.md)
case $marker in '<!-- dyno report: '*' -->') ;; *) echo 'comment.md has no marker' >&2; exit 2 ;; esac

case $service in
github)
    list="$API/repos/$REPOSITORY/issues/$NUMBER/comments"
    one="$API/repos/$REPOSITORY/issues/comments" update=PATCH header="Authorization: Bearer $TOKEN" ;;
gitlab)
    list="$API/projects/$REPOSITORY/merge_requests/$NUMBER/notes"
    one=$list update=PUT header="PRIVATE-TOKEN: $TOKEN" ;;
*) echo "there is no service $service: github or gitlab" >&2; exit 2 ;;
esac

# The token is in a file of this user's alone, not among the arguments that others can see.
config=$(mktemp)
trap 'rm -f "$config"' EXIT
printf 'header = "%s"\nheader = "Content-Type: application/json"\n' "$header" > "$config"
call() { curl --silent --show-error --fail-with-body --config "$config" "$@"; }

body=$(jq -n --rawfile body comment.md '{body: $body}')
page=1 id=
while [ -z "$id" ]; do
    comments=$(call "$list?per_page=100&page=$page")
    id=$(printf '%s' "$comments" | jq -r --arg marker "$marker" \
        'first(.[] | select(.body | startswith($marker)) | .id) // empty')
    [ "$(printf '%s' "$comments" | jq length)" -eq 100 ] || break
    page=$((page + 1))
done
if [ -n "$id" ]; then
    call --request "$update" --data "$body" "$one/$id" > /dev/null
else
    call --request POST --data "$body" "$list" > /dev/null
fi
