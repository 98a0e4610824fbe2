# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading docs/openapi.yaml: references, and a validator for the part of JSON Schema it uses.

Stricter than JSON Schema: a member that the schema does not name is an error, so that answers
cannot grow undocumented; and a keyword that is not known here is an error in the document.
"""
import re

import yaml

KEYWORDS = {
    "$ref", "type", "description", "properties", "required", "items", "enum", "const", "oneOf",
    "anyOf", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "default", "examples", "additionalProperties",
    "patternProperties", "discriminator", "x-fsd-role", "x-fsd-result",
}
TYPES = {
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "null": lambda v: v is None,
}


class UniqueKeys(yaml.SafeLoader):
    """YAML's own loader takes the last of two equal keys without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        twice = {k for k in keys if keys.count(k) > 1}
        if twice:
            raise yaml.YAMLError("given twice: %s, %s" % (twice, node.start_mark))
        return super().construct_mapping(node, deep)


def load(path):
    with open(path, encoding="utf-8") as f:
        return yaml.load(f, UniqueKeys)


class Document:
    def __init__(self, root):
        self.root = root

    def follow(self, node):
        while isinstance(node, dict) and "$ref" in node:
            node = self.at(node["$ref"])
        return node

    def at(self, ref):
        node = self.root
        if not ref.startswith("#/"):
            raise KeyError(ref)
        for part in ref[2:].split("/"):
            node = node[part]
        return node

    # ---- values ----

    def check(self, schema, value, where="answer"):
        """What is wrong with `value`, as a list of sentences."""
        schema = self.follow(schema)
        out = []
        kinds = schema.get("type")
        if kinds and not any(TYPES[t](value) for t in ([kinds] if isinstance(kinds, str)
                                                       else kinds)):
            return ["%s: %r is not of type %s" % (where, value, kinds)]
        if "const" in schema and value != schema["const"]:
            out.append("%s: %r is not %r" % (where, value, schema["const"]))
        if "enum" in schema and value not in schema["enum"]:
            out.append("%s: %r is none of %r" % (where, value, schema["enum"]))
        for word in ("oneOf", "anyOf"):
            if word in schema:
                out += self._some(schema[word], value, where, word == "oneOf")
        if isinstance(value, str):
            out += self._string(schema, value, where)
        if TYPES["number"](value):
            if value < schema.get("minimum", value) or value > schema.get("maximum", value):
                out.append("%s: %r is out of range" % (where, value))
        if isinstance(value, list) and "items" in schema:
            for i, item in enumerate(value):
                out += self.check(schema["items"], item, "%s[%d]" % (where, i))
        if isinstance(value, dict) and schema.get("type"):
            out += self._object(schema, value, where)
        return out

    def _some(self, schemas, value, where, one):
        results = [self.check(s, value, where) for s in schemas]
        good = results.count([])
        if good == 0:
            return ["%s: fits none of: %s" % (where, results)]
        return ["%s: fits more than one" % where] if one and good > 1 else []

    @staticmethod
    def _string(schema, value, where):
        out = []
        if "pattern" in schema and not re.search(schema["pattern"], value):
            out.append("%s: %r does not match %s" % (where, value, schema["pattern"]))
        size = len(value.encode())
        if size < schema.get("minLength", 0) or size > schema.get("maxLength", size):
            out.append("%s: %r has %d bytes" % (where, value, size))
        return out

    def _object(self, schema, value, where):
        out = ["%s: %s is missing" % (where, k) for k in schema.get("required", [])
               if k not in value]
        rest = schema.get("additionalProperties")
        for name, member in value.items():
            at = "%s.%s" % (where, name)
            patterns = [s for p, s in schema.get("patternProperties", {}).items()
                        if re.search(p, name)]
            if name in schema.get("properties", {}):
                out += self.check(schema["properties"][name], member, at)
            elif patterns:
                out += self.check(patterns[0], member, at)
            elif isinstance(rest, dict):
                out += self.check(rest, member, at)
            elif rest is not True:
                out.append("%s: not in the document" % at)
        return out

    # ---- the document itself ----

    def faults(self):
        """References into nothing, schemas that nothing uses, keywords that are none."""
        used, out = set(), []
        self._walk(self.root, "", used, out)
        for family, entries in self.root["components"].items():
            for name in entries:
                if "#/components/%s/%s" % (family, name) not in used:
                    out.append("nothing refers to %s/%s" % (family, name))
        for name, schema in self.root["components"]["schemas"].items():
            self._schema(schema, name, out)
        return out

    def _walk(self, node, where, used, out):
        if isinstance(node, list):
            for i, item in enumerate(node):
                self._walk(item, "%s/%d" % (where, i), used, out)
        elif isinstance(node, dict):
            for key, item in node.items():
                if key in ("$ref", "x-fsd-result"):
                    used.add(item)
                    try:
                        self.at(item)
                    except (KeyError, TypeError):
                        out.append("%s: there is no %s" % (where, item))
                elif key == "schema":
                    self._schema(item, where, out)
                self._walk(item, "%s/%s" % (where, key), used, out)

    def _schema(self, schema, where, out):
        for key in schema:
            if key not in KEYWORDS:
                out.append("%s: '%s' is no keyword" % (where, key))
        for name, sub in schema.get("properties", {}).items():
            self._schema(sub, "%s.%s" % (where, name), out)
        for name in schema.get("required", []):
            if "properties" in schema and name not in schema["properties"]:
                out.append("%s: required but not described: %s" % (where, name))
        for sub in schema.get("oneOf", []) + schema.get("anyOf", []):
            self._schema(sub, where, out)
        if "items" in schema:
            self._schema(schema["items"], where + "[]", out)
