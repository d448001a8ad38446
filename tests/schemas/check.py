"""Validates files against the public schemas of their formats: check.py SCHEMAS CERTIFICATE_SCHEMA FILE...

The kind of a file is told by how its name ends. SCHEMAS is the folder with the SARIF 2.1.0 schema, as SchemaStore
serves it. JUnit has no standard: junit-10.xsd beside this script is that of the Jenkins xUnit plugin, as pytest
carries it for its own tests (MIT licence, in the file). in-toto: what the messages of its published bindings,
Statement v1 and TestResult v0.1, accept, which refuse keys that they don't know. Prints one line for each file, "valid" or why it isn't.
"""

import json
import pathlib
import sys

import jsonschema
import xmlschema
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement, statement_pb2

schemas, own, *files = map(pathlib.Path, sys.argv[1:])


def json_validator(file):
    schema = json.loads(file.read_text("utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=jsonschema.FormatChecker())


sarif_validator = json_validator(schemas / "sarif-2.1.0.json")
own_validator = json_validator(own)
junit_schema = xmlschema.XMLSchema(pathlib.Path(__file__).with_name("junit-10.xsd"))


def in_toto(text):
    message = json_format.Parse(text, statement_pb2.Statement())
    statement.Statement.copy_from_pb(message).validate()
    json_format.Parse(json_format.MessageToJson(message.predicate), test_result_pb2.TestResult())
    if message.predicate_type != "https://in-toto.io/attestation/test-result/v0.1":
        raise ValueError(f"the predicate is of type {message.predicate_type}")
    # required by the predicate's specification, which protocol buffers can't say
    result = json_format.MessageToDict(message.predicate)
    if result.get("result") not in ("PASSED", "WARNED", "FAILED") or not result.get("configuration"):
        raise ValueError("the predicate lacks a result or a configuration")


def junit(text):
    junit_schema.validate(text)


kinds = {
    ".sarif": lambda text: sarif_validator.validate(json.loads(text)),
    ".junit.xml": junit,
    ".intoto.json": in_toto,
    ".certificate.json": lambda text: own_validator.validate(json.loads(text)),
}
for file in files:
    check = next(c for ending, c in kinds.items() if file.name.endswith(ending))
    try:
        check(file.read_text("utf-8"))
        print("valid")
    except Exception as e:  # whatever a validator raises is its verdict
        print(" ".join(str(e).split())[:400] or type(e).__name__)
