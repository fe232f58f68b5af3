"""``/v2``: the open inference protocol of KServe, so that its clients can ask the station."""

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from defectseg import __version__
from defectseg.image_io import encode_picture, read_mask
from defectseg.line.archive import MASK
from defectseg.line.assembly import Line
from defectseg.line.inspecting import (
    LONGEST_NAME,
    NAME_PATTERN,
    choose_product,
    http_status,
    inspect,
)
from defectseg.line.station import Recorded, Source

_OUTPUTS = ("outcome", "score", "id", "mask")
_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=NAME_PATTERN)]
_Level = Annotated[int, Field(ge=0, le=255)]


class Fault(BaseModel):
    """Nothing was inferred, and why."""

    error: str


class Parameters(BaseModel):
    """What the image shows."""

    part_id: _Name
    camera_id: _Name = "camera"
    product: _Name | None = None


class InputTensor(BaseModel):
    """The image: ``(H, W)``, ``(H, W, 3)`` or with a 1 before; RGB."""

    name: Literal["image"]
    shape: list[Annotated[int, Field(ge=1, le=100_000)]] = Field(min_length=2, max_length=4)
    datatype: Literal["UINT8"]
    data: list[_Level] = Field(min_length=1, description="row by row, flat")


class WantedOutput(BaseModel):
    """One of the outputs."""

    name: Literal["outcome", "score", "id", "mask"]


class InferRequest(BaseModel):
    """A request of the open inference protocol."""

    id: str | None = Field(None, max_length=LONGEST_NAME)
    parameters: Parameters
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] | None = Field(None, description="all but the mask, by default")


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
    id: str | None
    outputs: list[OutputTensor]


def make_routes(line: Line) -> APIRouter:
    """Return the pages below ``/v2``."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    absent: dict[int | str, dict[str, Any]] = {404: {"model": Fault}}

    @router.get("/health/live", summary="Is the process up?")
    def live() -> dict[str, bool]:
        return {"live": True}

    @router.get(
        "/health/ready", summary="Can images be inspected?", responses={503: {"model": Fault}}
    )
    def ready() -> dict[str, bool]:
        problems = line.station.problems()
        if problems:
            raise HTTPException(503, " ".join(problems))
        return {"ready": True}

    @router.get("", summary="What the server is")
    def server() -> dict[str, Any]:
        return {"name": "defectseg", "version": __version__, "extensions": []}

    @router.get("/models/{name}", summary="What the model takes and answers", responses=absent)
    def model(name: str) -> dict[str, Any]:
        found = _find(line, name)
        return {
            "name": found.name,
            "versions": [found.sha256],
            "platform": f"{found.predictor.engine.name}_{found.predictor.engine.precision}",
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, -1]}],
            "outputs": [
                {"name": "outcome", "datatype": "BYTES", "shape": [1]},
                {"name": "score", "datatype": "FP32", "shape": [1]},
                {"name": "id", "datatype": "INT64", "shape": [1]},
                {"name": "mask", "datatype": "UINT8", "shape": [-1, -1]},
            ],
        }

    @router.get("/models/{name}/ready", summary="Can the model be asked?", responses=absent)
    def model_ready(name: str) -> dict[str, Any]:
        return {"name": _find(line, name).name, "ready": True}

    @router.post(
        "/models/{name}/infer",
        summary="Inspect an image that is sent as a tensor",
        responses=absent | {409: {"model": Fault}, 422: {"model": Fault}, 503: {"model": Fault}},
    )
    async def infer(name: str, request: InferRequest) -> InferAnswer:
        """Inspect and record an image, as `POST /v1/inspect` does.

        Whatever goes wrong is an error, never an outcome `PASS`.
        """
        own = request.parameters
        found = _find(line, name)
        source = Source(own.part_id, own.camera_id, choose_product(line, own.product), "http")
        data = await run_in_threadpool(_encode, request.inputs[0])
        recorded = await inspect(line, data, source)
        status = http_status(recorded)
        if status != 200:
            raise HTTPException(status, recorded.inspection.error or "not inspected")
        wanted = [out.name for out in request.outputs or ()] or _OUTPUTS[:-1]
        outputs = await run_in_threadpool(
            lambda: [_output(line, recorded, output) for output in wanted]
        )
        return InferAnswer(
            model_name=found.name,
            model_version=recorded.inspection.model_sha256,
            id=request.id,
            outputs=outputs,
        )

    return router


def fault(status: int, text: str) -> JSONResponse:
    """Return an error in the protocol's form."""
    return JSONResponse({"error": text}, status)


def _find(line: Line, name: str) -> Any:
    model = line.models.current
    if model is None or model.name != name:
        known = f"expected {model.name!r}" if model else "there is no model"
        raise HTTPException(404, f"There is no model {name[:LONGEST_NAME]!r}; {known}.")
    return model


def _encode(tensor: InputTensor) -> bytes:
    """Return a tensor as the bytes of a PNG: what is hashed, inspected and kept."""
    shape = tensor.shape[1:] if len(tensor.shape) > 2 and tensor.shape[0] == 1 else tensor.shape
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise HTTPException(422, f"The shape is {tensor.shape}; expected [H, W] or [H, W, 3].")
    if len(tensor.data) != np.prod(shape, dtype=np.int64):
        raise HTTPException(
            422, f"There are {len(tensor.data)} numbers; expected {tensor.shape} of them."
        )
    image: npt.NDArray[np.uint8] = np.array(tensor.data, np.uint8).reshape(shape)
    return encode_picture(image, ".png")


def _output(line: Line, recorded: Recorded, name: str) -> OutputTensor:
    own = recorded.inspection
    if name == "outcome":
        return OutputTensor(name=name, shape=[1], datatype="BYTES", data=[own.outcome])
    if name == "score":
        return OutputTensor(name=name, shape=[1], datatype="FP32", data=[own.score])
    if name == "id":
        return OutputTensor(name=name, shape=[1], datatype="INT64", data=[own.id])
    path = line.archive.path(own.pictures, MASK)
    if path is None:
        raise HTTPException(503, "The mask is kept no longer.")
    mask = read_mask(path)
    return OutputTensor(
        name=name, shape=list(mask.shape), datatype="UINT8", data=mask.ravel().tolist()
    )
