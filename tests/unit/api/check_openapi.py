# SPDX-License-Identifier: LGPL-2.1-or-later
"""Do the program's table, docs/openapi.yaml, docs/api.md and fsd.conf(5) say the same?

check_openapi.py TABLE_DUMP OPENAPI API_MD FSD_CONF_5: prints every difference; 1 if there is one.
With --self-test it takes one thing after the other out of the document, or changes it, and
fails if that goes unnoticed.
"""
import copy
import json
import pathlib
import re
import subprocess
import sys

from openapi import Document, load

COMMON = {"dry_run", "confirm", "note"}
OUTSIDE = {"wait", "idempotency_key"}
HEADERS = {"Idempotency-Key", "Last-Event-ID"}
JOBS = "/v1/jobs"
RESULT = "#/components/schemas/Result"


def json_type(doc, schema):
    schema = doc.follow(schema)
    if "oneOf" in schema or "anyOf" in schema:
        return json_type(doc, (schema.get("oneOf") or schema.get("anyOf"))[0])
    return "string" if "const" in schema else schema.get("type")


def compare_field(doc, where, schema, field):
    schema = doc.follow(schema)
    kind = json_type(doc, schema)
    if kind != field["type"]:
        yield "%s: %s is %s in the table, %s here" % (where, field["name"], field["type"], kind)
    inner = doc.follow(schema["items"]) if kind == "array" else schema
    words = field["words"].split() if "words" in field else None
    if sorted(inner.get("enum", [])) != sorted(words or []):
        yield "%s: %s is one of %s" % (where, field["name"], words)
    for key, word in (("min", "minimum"), ("max", "maximum")):
        if schema.get(word) != field.get(key):
            yield "%s: %s of %s is %s" % (where, word, field["name"], field.get(key))


def compare_sets(where, what, table, document):
    for name in sorted(table - document):
        yield "%s: %s %s is missing in the document" % (where, what, name)
    for name in sorted(document - table):
        yield "%s: %s %s is not in the table" % (where, what, name)


def compare_parameters(doc, where, operation, path, fields):
    params = {p["name"]: p for p in map(doc.follow, operation.get("parameters", []))}
    in_path = set(re.findall(r"{(\w+)}", path))
    documented = {n for n, p in params.items() if p["in"] in ("path", "query")}
    yield from compare_sets(where, "parameter", set(fields), documented)
    yield from compare_sets(where, "header", set(),
                            {n for n, p in params.items() if p["in"] == "header"} - HEADERS)
    for name in documented & set(fields):
        place = "path" if name in in_path else "query"
        if params[name]["in"] != place:
            yield "%s: %s stands in the %s" % (where, name, place)
        if params[name].get("required", False) != fields[name]["required"]:
            yield "%s: %s: required is %s" % (where, name, fields[name]["required"])
        yield from compare_field(doc, where, params[name]["schema"], fields[name])


def check_responses(doc, where, operation, post):
    """A path or a filter that names something may name nothing."""
    names = {doc.follow(p)["name"] for p in operation.get("parameters", [])}
    responses = operation.get("responses", {})
    if "default" not in responses or not any(s.startswith("2") for s in responses):
        yield "%s: its responses are not described" % where
    for status, response in responses.items():
        content = doc.follow(response).get("content", {})
        problem = list(content) == ["application/problem+json"]
        if problem == status.startswith("2"):
            yield "%s: %s has the wrong type of content" % (where, status)
    for status in ["400", "503"] + (
            ["404"] if "{" in where or names & {"pool", "site"} else []):
        if status not in responses:
            yield "%s: %s is not described" % (where, status)
    if post and "Location" not in doc.follow(responses.get("202", {})).get("headers", {}):
        yield "%s: 202 comes with a Location" % where


def compare_paths(doc, ops):
    table = {(op["path"], op["method"].lower()): op for op in ops if op["path"]}
    table[(JOBS, "post")] = {
        "name": None, "role": None, "path": JOBS,
        "fields": [f for op in ops if not op["path"] for f in op["fields"] if f["name"] == "wait"]}
    documented = {(path, method) for path, item in doc.root["paths"].items() for method in item}
    yield from compare_sets("paths", "path", {"%s %s" % k for k in table},
                            {"%s %s" % k for k in documented})
    for (path, method), op in table.items():
        operation = doc.root["paths"].get(path, {}).get(method)
        where = "%s %s" % (method.upper(), path)
        if operation is None:
            continue
        if operation.get("x-fsd-op") != op["name"] or operation.get("x-fsd-role") != op["role"]:
            yield "%s: it is %s for %s" % (where, op["name"], op["role"])
        yield from compare_parameters(doc, where, operation, path,
                                      {f["name"]: f for f in op["fields"]})
        yield from check_responses(doc, where, operation, method == "post")


def compare_kind(doc, op, schema):
    where = op["name"]
    fields = {f["name"]: f for f in op["fields"] if f["name"] not in OUTSIDE}
    properties = schema.get("properties", {})
    if schema.get("x-fsd-role") != op["role"]:
        yield "%s: the role is %s" % (where, op["role"])
    if "x-fsd-result" not in schema:
        yield "%s: its result is not described" % where
    if properties.get("kind") != {"const": op["name"]}:
        yield "%s: kind is not this" % where
    if schema.get("additionalProperties") is not False:
        yield "%s: other members are refused" % where
    yield from compare_sets(where, "member", set(fields) | {"kind"}, set(properties))
    yield from compare_sets(where, "required member",
                            {n for n, f in fields.items() if f["required"]} | {"kind"},
                            set(schema.get("required", [])))
    for name in set(fields) & set(properties):
        yield from compare_field(doc, where, properties[name], fields[name])


def compare_kinds(doc, ops):
    request = doc.root["components"]["schemas"]["JobRequest"]
    mapping = request["discriminator"]["mapping"]
    kinds = {op["name"]: op for op in ops if not op["path"]}
    if sorted(mapping.values()) != sorted(s["$ref"] for s in request["oneOf"]):
        yield "JobRequest: oneOf and the discriminator's mapping differ"
    if request["discriminator"]["propertyName"] != "kind":
        yield "JobRequest: it is told by its kind"
    yield from compare_sets("JobRequest", "kind", set(kinds), set(mapping))
    for name in set(kinds) & set(mapping):
        yield from compare_kind(doc, kinds[name], doc.at(mapping[name]))
    # An undo's is any of them.
    results = {doc.at(ref).get("x-fsd-result") for ref in mapping.values()} - {RESULT, None}
    if sorted(results) != sorted(s["$ref"] for s in doc.at(RESULT)["anyOf"]):
        yield "Result: its members are not the results of the kinds"


def compare_prose(ops, text):
    """docs/api.md names each path with its query, each kind with its arguments."""
    for op in ops:
        names = {f["name"] for f in op["fields"]} - OUTSIDE - COMMON
        if op["path"]:
            names |= {f["name"] for f in op["fields"]} & OUTSIDE
            found = re.search(r"`%s %s(\?[^`]*)?`" % (op["method"], re.escape(op["path"])), text)
            query = set(re.findall(r"[?&](\w+)", found.group(1) or "")) if found else set()
            told = query | set(re.findall(r"{(\w+)}", op["path"]))
        else:
            found = re.search(r"^\| `%s` \| ([^|]*) \|" % op["name"], text, re.M)
            told = set(re.findall(r"`(\w+)\??`(?:,| |$)", re.sub(r"{[^}]*}", "", found.group(1)))
                       ) if found else set()
            for f in op["fields"]:
                if found and f["name"] in told and \
                        ("`%s?`" % f["name"] in found.group(1)) == f["required"]:
                    yield "api.md: %s: %s: required is %s" % (op["name"], f["name"],
                                                             f["required"])
        if not found:
            yield "api.md: %s is missing" % (op["path"] or op["name"])
        else:
            yield from compare_sets("api.md: " + op["name"], "field", names, told)


def compare_manual(ops, manual):
    """fsd.conf(5) lists the kinds of jobs after each group whose members may ask for them."""
    kinds = {op["name"]: op["role"] for op in ops if not op["path"]}
    for role in ("viewer", "operator", "admin"):
        found = re.search(r"^\.I %s_group\n(.*?)^\.(?:PP|RE)$" % role, manual, re.M | re.S)
        listed = "\n".join(re.findall(r"^\.BR? (.*)", found.group(1), re.M)) if found else ""
        told = set(re.findall(r"[a-z]+(?:-[a-z]+)*(?![\w-])", listed)) & set(kinds)
        yield from compare_sets("fsd.conf(5): %s_group" % role, "kind",
                                {k for k, r in kinds.items() if r == role}, told)


def differences(root, ops, prose, manual):
    doc = Document(root)
    return (doc.faults() + list(compare_paths(doc, ops)) + list(compare_kinds(doc, ops)) +
            list(compare_prose(ops, prose)) + list(compare_manual(ops, manual)))


# ---- does it notice? ----

def mutations(root, ops):
    """(what, a changed document, changed ops) for each thing that the two must agree on."""
    def without(*path):
        new = copy.deepcopy(root)
        node = new
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]
        return "/".join(map(str, path)), new, ops

    for path, item in root["paths"].items():
        yield without("paths", path)
        for method, operation in item.items():
            at = ("paths", path, method)
            for i, _ in enumerate(operation.get("parameters", [])):
                if operation["parameters"][i]["$ref"].rsplit("/")[-1] not in (
                        "idempotencyKey", "lastEventId"):
                    yield without(*at, "parameters", i)
            if "x-fsd-role" in operation:
                yield without(*at, "x-fsd-role")
            yield without(*at, "responses", "default")
    schemas = root["components"]["schemas"]
    mapping = schemas["JobRequest"]["discriminator"]["mapping"]
    for kind, ref in mapping.items():
        at = ("components", "schemas", ref.rsplit("/")[-1])
        yield without("components", "schemas", "JobRequest", "discriminator", "mapping", kind)
        for name in schemas[at[2]]["properties"]:
            yield without(*at, "properties", name)
        for i, _ in enumerate(schemas[at[2]]["required"]):
            yield without(*at, "required", i)
        yield without(*at, "x-fsd-role")
        yield without(*at, "x-fsd-result")
    for i, _ in enumerate(schemas["Result"]["anyOf"]):
        yield without("components", "schemas", "Result", "anyOf", i)
    for i, op in enumerate(ops):
        yield "table: " + op["name"], root, ops[:i] + ops[i + 1:]
        for k, field in enumerate(op["fields"]):
            for key, value in (("name", "xyz"), ("type", "xyz"),
                               ("required", not field["required"]), ("words", "x y"), ("max", 7)):
                # The others of POST /v1/jobs stand for this one.
                if field["name"] in OUTSIDE and not op["path"]:
                    continue
                new = copy.deepcopy(ops)
                new[i]["fields"][k][key] = value
                yield "table: %s: %s: %s" % (op["name"], field["name"], key), root, new


def self_test(root, ops, prose, manual):
    count = missed = 0
    for what, new_root, new_ops in mutations(root, ops):
        count += 1
        if not differences(new_root, new_ops, prose, manual):
            print("not noticed:", what)
            missed += 1
    for op in ops:
        count += 1
        gone = prose.replace("`%s`" % op["name"], "").replace(op["path"] or "\0", "")
        if not differences(root, ops, gone, manual):
            print("not noticed in api.md:", op["name"])
            missed += 1
        if op["path"]:
            continue
        count += 1
        if not differences(root, ops, prose, re.sub(r"(?<=[ ])%s(?= )" % op["name"], "", manual)):
            print("not noticed in fsd.conf(5):", op["name"])
            missed += 1
    print("%d changes, %d not noticed" % (count, missed))
    return missed


def main():
    args = [a for a in sys.argv[1:] if a != "--self-test"]
    ops = json.loads(subprocess.run([args[0]], check=True, stdout=subprocess.PIPE).stdout)
    root = load(args[1])
    texts = [pathlib.Path(arg).read_text(encoding="utf-8") for arg in args[2:]]
    found = differences(root, ops, *texts)
    for line in found:
        print(line)
    if found or "--self-test" not in sys.argv:
        return 1 if found else 0
    return 1 if self_test(root, ops, *texts) else 0


if __name__ == "__main__":
    sys.exit(main())
