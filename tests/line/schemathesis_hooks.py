"""Loaded by schemathesis: what the schemas cannot say of a valid request.

Not that a string of bytes is a readable image, that a product is one of the model's, or that a
list is as long as the product of a shape. So many requests that follow the schemas are made valid
in these ways, too; those that are meant to be wrong stay as they are. Where it still is refused
for one of these reasons alone, this is no fault.
"""

import itertools
import os
import re
from typing import Any

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.transport.serialization import Binary

from defectseg.image_io import encode_picture
from defectseg.line.schemas import NAME_PATTERN
from tests.line.conftest import draw

COUNT = itertools.count()
IMAGES = 6  # that are in the ledger already
NO_FAULT = re.compile(
    r"cannot be decoded|the file is empty|[Pp]roduct .*expected one of Class1, Class5"
)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if context.operation.path != "/v1/inspect" or not isinstance(body, dict):
        return body
    if isinstance(body.get("image"), bytes | Binary):
        image = draw(0)
        image[0, :2] = divmod(next(COUNT) % 65536, 256)  # another one each time
        body["image"] = Binary(encode_picture(image, ".png"))
    if isinstance(body.get("product"), str) and re.fullmatch(NAME_PATTERN, body["product"]):
        body["product"] = "Class1"
    return body


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    if case.meta is None or any(own.mode.is_negative for own in case.meta.components.values()):
        return case
    path, number = case.operation.path, next(COUNT) % 65536
    if "{number}" in path:
        case.path_parameters = {"number": 1 + number % IMAGES}
    if path.endswith("/infer"):
        known = {"name": "bundle", "version": os.environ["VERSION"]}
        case.path_parameters = {name: known[name] for name in case.path_parameters}
        tensor = {**case.body["inputs"][0], "shape": [1, 2], "data": [*divmod(number, 256)]}
        parameters = {**(case.body.get("parameters") or {}), "product": "Class1"}
        case.body = {**case.body, "inputs": [tensor], "parameters": parameters}
    return case


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    refused = isinstance(failure, RejectedPositiveData) and case.operation.path == "/v1/inspect"
    return not (refused and NO_FAULT.search(response.text))
