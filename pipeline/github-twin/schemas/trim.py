"""Writes github.json from GitHub's OpenAPI description: only the operations and deliveries that the
twin serves, as JSON Schema 2020-12, without prose and examples. Nothing else is changed.

Usage: python3 trim.py api.github.com.json > github.json
The description is in the npm package @octokit/openapi, folder `generated`."""

import json
import sys

OPERATIONS = """
apps/create-installation-access-token apps/get-authenticated apps/get-repo-installation
apps/list-installations
checks/create checks/list-for-ref checks/update
issues/add-labels issues/create-comment issues/create-label issues/delete-comment issues/get-comment
issues/list-comments issues/list-comments-for-repo issues/list-for-repo
issues/list-labels-on-issue issues/remove-label issues/update-comment
pulls/get pulls/list-commits pulls/list-files pulls/list-reviews
rate-limit/get
reactions/create-for-issue-comment reactions/delete-for-issue-comment
reactions/list-for-issue-comment
repos/accept-invitation-for-authenticated-user repos/add-collaborator
repos/compare-commits-with-basehead repos/create-commit-status repos/get
repos/get-collaborator-permission-level repos/get-combined-status-for-ref repos/get-commit
repos/get-content repos/list-collaborators repos/list-commit-statuses-for-ref
repos/list-invitations repos/remove-collaborator
teams/get-membership-for-user-in-org
users/get-authenticated
""".split()
DELIVERIES = ["issue-comment-created", "issue-comment-edited", "issue-comment-deleted", "ping"]
PROSE = {"description", "example", "examples", "externalDocs", "deprecated", "title", "summary"}

spec = json.load(open(sys.argv[1]))
definitions = {}


def resolve(value):
    while isinstance(value, dict) and "$ref" in value:
        node = spec
        for name in value["$ref"].split("/")[1:]:
            node = node[name]
        value = node
    return value


def schema(value, names=False):
    """The schema as JSON Schema; `names` says that the keys are names of properties."""
    if isinstance(value, list):
        return [schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value and not names:
        name = value["$ref"].split("/")[-1]
        if name not in definitions:
            definitions[name] = None
            definitions[name] = schema(resolve(value))
        return {"$ref": "#/$defs/" + name}
    if names:
        return {key: schema(item) for key, item in value.items()}
    kept = {}
    for key, item in value.items():
        if key in PROSE or key.startswith("x-") or key == "nullable":
            continue
        if key in ("enum", "required", "default", "const"):
            kept[key] = item
        else:
            kept[key] = schema(item, key == "properties")
    if not value.get("nullable"):
        return kept
    if isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
        if "enum" in kept and None not in kept["enum"]:
            kept["enum"] = kept["enum"] + [None]
        return kept
    return {"anyOf": [kept, {"type": "null"}]}


def body(content):
    media = (resolve(content) or {}).get("content", {})
    for name in ("application/json", "application/scim+json"):
        if name in media:
            return schema(media[name].get("schema", {}))
    return None


def operation(path, method, found, shared):
    parameters = [resolve(item) for item in shared + found.get("parameters", [])]
    kept = {"method": method.upper(), "path": path}
    for place in ("path", "query"):
        kept[place + "_parameters"] = {
            item["name"]: schema(item["schema"]) for item in parameters if item["in"] == place
        }
    if "requestBody" in found:
        kept["body"] = body(found["requestBody"])
        kept["body_required"] = resolve(found["requestBody"]).get("required", False)
    kept["replies"] = {status: body(reply) for status, reply in found["responses"].items()}
    return kept


operations, deliveries = {}, {}
for path, methods in spec["paths"].items():
    for method, found in methods.items():
        if method != "parameters" and found.get("operationId") in OPERATIONS:
            shared = methods.get("parameters", [])
            operations[found["operationId"]] = operation(path, method, found, shared)
for name in DELIVERIES:
    deliveries[name] = body(spec["x-webhooks"][name]["post"]["requestBody"])
missing = set(OPERATIONS) - set(operations)
assert not missing, missing


def lines(title, entries):
    items = [f"{json.dumps(key)}:{json.dumps(entries[key], separators=(',', ':'), ensure_ascii=False)}" for key in sorted(entries)]
    return f'"{title}":{{\n' + ",\n".join(items) + "\n}"


print("{" + ",\n".join([lines("operations", operations), lines("deliveries", deliveries), lines("$defs", definitions)]) + "}")
