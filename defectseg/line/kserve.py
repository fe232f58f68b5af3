"""``/v2``: the open inference protocol of KServe, so that its clients can ask the station."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from json import JSONDecodeError
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from starlette.exceptions import HTTPException

from defectseg import __version__
from defectseg.errors import ImageReadError
from defectseg.image_io import encode_picture, read_mask
from defectseg.line.archive import MASK
from defectseg.line.assembly import Line
from defectseg.line.inspecting import choose_product, http_status, in_thread, inspect
from defectseg.line.job import Recorded, Source
from defectseg.line.models import Model
from defectseg.line.schemas import REFUSALS, Fault, Name
from defectseg.line.tensors import parse_request, read_numbers, write_digits

_OUTPUTS = ("outcome", "score", "id", "mask")
_MOST_AXES = 4
_LARGE_BYTES = 1_000_000  # larger requests are read one at a time, for the memory's sake
# A model's hash, or as much of its beginning as tells it from others.
Version = Annotated[str, Field(min_length=8, max_length=64, pattern=r"^[0-9a-f]+$")]


def _data_schema() -> dict[str, Any]:
    """Return the schema of a tensor's numbers: flat, or nested as deep as the tensor has axes."""
    own: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 255}
    forms = []
    for _ in range(_MOST_AXES):
        own = {"type": "array", "items": own, "minItems": 1}
        forms.append(own)
    return {"anyOf": forms}


def _whole(number: object) -> object:
    """Return 3 of 3.0, which JSON does not tell apart."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _check_text(data: object) -> object:
    if not isinstance(data, bytes):
        raise ValueError("expected a list of whole numbers from 0 to 255")
    return data


class _Request(BaseModel):
    """What others know of the protocol and we do not is passed over, as the protocol has it."""

    model_config = ConfigDict(strict=True)


class Parameters(_Request):
    """What the image shows."""

    part_id: Name | None = Field(default=None, description="by default, the request's id")
    camera_id: Name = "camera"
    product: Name | None = Field(default=None, description="needed where the model knows several")


class InputTensor(_Request):
    """The image: ``(H, W)``, ``(H, W, 3)`` or with a 1 before; RGB."""

    name: Literal["image"]
    shape: list[Annotated[int, BeforeValidator(_whole), Field(ge=1, le=100_000)]] = Field(
        min_length=2, max_length=_MOST_AXES
    )
    datatype: Literal["UINT8"]
    # As they are written: there may be millions.
    data: Annotated[bytes, PlainValidator(_check_text), WithJsonSchema(_data_schema())] = Field(
        description="row by row: flat, or nested as the shape says"
    )


class WantedOutput(_Request):
    """One of the outputs."""

    name: Literal["outcome", "score", "id", "mask"]


class InferRequest(_Request):
    """A request of the open inference protocol."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["id"], "properties": {"id": {"type": "string"}}},
                {
                    "required": ["parameters"],
                    "properties": {
                        "parameters": {
                            "type": "object",
                            "required": ["part_id"],
                            "properties": {"part_id": {"type": "string"}},
                        }
                    },
                },
            ]
        }
    )

    id: Name | None = None
    parameters: Parameters | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] | None = Field(
        default=None, description="all but the mask, by default"
    )


class OutputTensor(BaseModel):
    """An output."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferAnswer(BaseModel):
    """An answer of the open inference protocol."""

    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="that of the request, if it had one")
    outputs: list[OutputTensor]


class Live(BaseModel):
    """The process is up."""

    live: bool


class Ready(BaseModel):
    """Images can be inspected."""

    ready: bool


class Server(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output; -1 stands for any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and answers."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    """A model can be asked."""

    name: str
    ready: bool


def make_routes(line: Line) -> APIRouter:
    """Return the pages below ``/v2``."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": Fault, "description": text} for status, text in REFUSALS.items()
    }
    router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=responses)
    _add_health(router, line)
    _add_models(router, line)
    inferring = APIRouter(route_class=_InferRoute)
    _add_infer(inferring, line)
    router.include_router(inferring)
    return router


_ABSENT: dict[int | str, dict[str, Any]] = {
    404: {"model": Fault, "description": "There is no such model, or no such version"}
}


def _add_health(router: APIRouter, line: Line) -> None:
    @router.get("/health/live", summary="Is the process up?")
    async def live() -> Live:
        return Live(live=True)

    @router.get("/health/ready", summary="Can images be inspected?")
    async def ready() -> Ready:
        if line.station.problems():  # which are not for everybody to know
            raise HTTPException(503, "No image can be inspected now; GET /v1/summary says why.")
        return Ready(ready=True)

    @router.get("", summary="What the server is")
    def server() -> Server:
        return Server(name="defectseg", version=__version__, extensions=[])


def _add_models(router: APIRouter, line: Line) -> None:
    @router.get("/models/{name}", summary="What the model takes and answers", responses=_ABSENT)
    def model(name: Name) -> ModelMetadata:
        return _describe(_find(line, name))

    @router.get(
        "/models/{name}/versions/{version}", summary="The same, of a version", responses=_ABSENT
    )
    def model_version(name: Name, version: Version) -> ModelMetadata:
        return _describe(_find(line, name, version))

    @router.get("/models/{name}/ready", summary="Can the model be asked?", responses=_ABSENT)
    def model_ready(name: Name) -> ModelReady:
        return ModelReady(name=_find(line, name).name, ready=True)

    @router.get(
        "/models/{name}/versions/{version}/ready", summary="Can a version?", responses=_ABSENT
    )
    def model_version_ready(name: Name, version: Version) -> ModelReady:
        return ModelReady(name=_find(line, name, version).name, ready=True)


class _InferRoute(APIRoute):
    """Reads requests in a thread, so that all others go on meanwhile."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_and_handle(request: Request) -> Response:
            return await handle(_InferBody(request.scope, request.receive))

        return read_and_handle


class _InferBody(Request):
    async def json(self) -> Any:
        try:
            return await in_thread(parse_request, await self.body())
        except JSONDecodeError:
            raise
        except ValueError as error:
            raise HTTPException(422, str(error)) from error


def _add_infer(router: APIRouter, line: Line) -> None:
    one_large = asyncio.Semaphore()
    options: dict[str, Any] = {
        "response_model": InferAnswer,
        "responses": _ABSENT
        | {409: {"model": Fault, "description": "The same image was given as another part"}},
    }

    @router.post(
        "/models/{name}/infer", summary="Inspect an image that is sent as a tensor", **options
    )
    async def infer(name: Name, request: InferRequest) -> Response:
        """Inspect and record an image, as `POST /v1/inspect` does.

        Whatever goes wrong is an error, never an outcome `PASS`.
        """
        return await _infer(line, _find(line, name), request, one_large)

    @router.post(
        "/models/{name}/versions/{version}/infer", summary="The same, by a version", **options
    )
    async def infer_version(name: Name, version: Version, request: InferRequest) -> Response:
        """Inspect and record an image, if this version is the one that judges.

        A version is a model's hash, or at least its first eight letters.
        """
        return await _infer(line, _find(line, name, version), request, one_large, version)


async def _infer(
    line: Line, model: Model, request: InferRequest, one_large: asyncio.Semaphore, version: str = ""
) -> Response:
    own = request.parameters or Parameters()
    part_id = own.part_id or request.id
    if part_id is None:
        raise HTTPException(
            422, "No part is named; expected parameters.part_id or, in its place, an id."
        )
    source = Source(part_id, own.camera_id, choose_product(line, own.product), "http")
    tensor = request.inputs[0]
    async with one_large if len(tensor.data) > _LARGE_BYTES else nullcontext():
        data = await in_thread(_encode, tensor)
    recorded = await inspect(line, data, source)
    status, judge = http_status(recorded), recorded.inspection.model_sha256
    if status != 200:
        raise HTTPException(status, recorded.inspection.error or "not inspected")
    if not judge.startswith(version):  # it took over between the question and the inspection
        raise HTTPException(
            503,
            f"Version {version!r} was replaced meanwhile: {judge} has judged the image, as "
            f"inspection {recorded.inspection.id}. Send it again.",
            {"retry-after": "1"},
        )
    text = await in_thread(_answer, line, model, recorded, request)
    return Response(text, media_type="application/json")


def _answer(line: Line, model: Model, recorded: Recorded, request: InferRequest) -> bytes:
    own = recorded.inspection
    wanted = [out.name for out in request.outputs or ()] or _OUTPUTS[:-1]
    tensors = {
        "outcome": OutputTensor(name="outcome", shape=[1], datatype="BYTES", data=[own.outcome]),
        "score": OutputTensor(name="score", shape=[1], datatype="FP32", data=[own.score]),
        "id": OutputTensor(name="id", shape=[1], datatype="INT64", data=[own.id]),
    }
    mask = _read_mask(line, recorded) if "mask" in wanted else None
    if mask is not None:
        shape = list(mask.shape)
        tensors["mask"] = OutputTensor(name="mask", shape=shape, datatype="UINT8", data=[])
    answer = InferAnswer(
        model_name=model.name,
        model_version=own.model_sha256,
        id=request.id,
        outputs=[tensors[name] for name in wanted],
    )
    text = answer.model_dump_json(exclude_none=True).encode()
    if mask is not None:  # no other list is empty
        text = text.replace(b'"data":[]', b'"data":' + write_digits(mask))
    return text


def _read_mask(line: Line, recorded: Recorded) -> npt.NDArray[np.uint8]:
    path = line.archive.path(recorded.inspection.pictures, MASK)
    try:
        if path is None:
            raise FileNotFoundError
        return read_mask(path)
    except (OSError, ImageReadError) as error:
        raise HTTPException(404, "The mask is kept no longer.") from error


def _find(line: Line, name: str, version: str | None = None) -> Model:
    model = line.models.current
    if model is None or model.name != name:
        known = f"expected {model.name!r}" if model else "there is none"
        raise HTTPException(404, f"There is no model {name!r}; {known}.")
    if version is not None and not model.sha256.startswith(version):
        raise HTTPException(
            404, f"There is no version {version!r} of {name!r}; expected {model.sha256}."
        )
    return model


def _describe(model: Model) -> ModelMetadata:
    engine = model.predictor.engine
    return ModelMetadata(
        name=model.name,
        versions=[model.sha256],
        platform=f"{engine.name}_{engine.precision}",
        inputs=[TensorMetadata(name="image", datatype="UINT8", shape=[-1, -1])],
        outputs=[
            TensorMetadata(name="outcome", datatype="BYTES", shape=[1]),
            TensorMetadata(name="score", datatype="FP32", shape=[1]),
            TensorMetadata(name="id", datatype="INT64", shape=[1]),
            TensorMetadata(name="mask", datatype="UINT8", shape=[-1, -1]),
        ],
    )


def _encode(tensor: InputTensor) -> bytes:
    """Return a tensor as the bytes of a PNG: what is hashed, inspected and kept."""
    given = shape = tuple(tensor.shape)
    if len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise HTTPException(422, f"The shape is {list(given)}; expected [H, W] or [H, W, 3].")
    try:
        return encode_picture(read_numbers(tensor.data, given).reshape(shape), ".png")
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
