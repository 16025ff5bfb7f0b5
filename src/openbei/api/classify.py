"""POST /v1/classify: labels of texts, for clients of vLLM and Jina; with `inputs` it is /predict."""

import time
import uuid

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import body, off_loop
from openbei.api.inputs import as_texts
from openbei.api.predict import labelled, numbers, predicted
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.classes import Classification, ClassifyRequest, ClassifyResponse
from openbei.api.wire.fields import usage
from openbei.batch import Vectors

_DECODER = msgspec.json.Decoder(ClassifyRequest)


async def classify(service: Service, call: Call) -> Reply:
    """A classification for each text."""
    content = await body(service, call)
    if content.given.keys() & {"input", "inputs"} == {"inputs"}:
        return await predicted(service, call, content)
    request = await content.decode(_DECODER, decisions.CLASSIFY)
    items = [[text] for text in as_texts(request.input, service.limits, "input")]
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    rows = await numbers(service, call, items, how_cut(service, request), raw_scores=raw_scores, param="input")
    data = await off_loop(
        call, lambda: [_classification(service, index, row) for index, row in enumerate(rows)], rows.size
    )
    name, used = service.manifest.model_name, usage(call.measured.num_tokens)
    return Reply(ClassifyResponse(f"classify-{uuid.uuid4().hex}", int(time.time()), name, data, used))


def _classification(service: Service, index: int, row: Vectors) -> Classification:
    labels = labelled(service, row)
    best = labels[0]
    return Classification(index, best.label, best.label, best.score, row.tolist(), len(labels), labels)
