"""The api over a real server and a real Postgres: strangers first, then what each caller is told."""

import asyncio
import threading
from dataclasses import replace

import grpc.aio
import pytest
from sqlalchemy import text

from lifecircle.recommend import v1
from services.kit import outbox, paging
from services.recommend.api import RIGHTS
from services.recommend.domain.association import associations
from services.recommend.domain.registry import Matrix
from services.recommend.lake import model_path, workbench
from services.recommend.usecases.scoring import PUBLISHED
from tests.fixtures.serving import Served, refused, refused_fields
from tests.recommend.house import NOW, PLACE, House, reason
from tests.recommend.town import CATALOGUE, DAY, FEATURES


async def test_a_stranger_is_refused_everywhere(served: Served) -> None:
    stub = v1.RecommendServiceStub(served.channel())
    for method in v1.recommend_service_pb2.DESCRIPTOR.services_by_name["RecommendService"].methods:
        request = getattr(v1, method.input_type.name)()
        call = getattr(stub, method.name)(request)
        answer = anext(aiter(call)) if method.server_streaming else call
        assert await reason(answer) == ("UNAUTHENTICATED", "STRANGER")


async def test_every_method_has_its_roles_and_a_viewer_starts_nothing(served: Served) -> None:
    methods = v1.recommend_service_pb2.DESCRIPTOR.services_by_name["RecommendService"].methods
    assert {method.name for method in methods} == RIGHTS.keys()
    stub = v1.RecommendServiceStub(served.channel(roles={"viewer"}))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreateJob(v1.CreateJobRequest(train=v1.TrainSpec(), request_id="x"))
    assert refused(error.value)[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED")


async def test_what_is_not_there_is_refused_by_its_own_reason(stub: v1.RecommendServiceStub, house: House) -> None:
    missing = ("FAILED_PRECONDITION", "MODEL_MISSING")
    assert await reason(stub.Recommend(v1.RecommendRequest(customer_key=3))) == missing
    assert await reason(stub.GetModel(v1.GetModelRequest())) == missing
    assert await reason(stub.GetModel(v1.GetModelRequest(model_id="x"))) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    assert await reason(stub.GetProduct(v1.GetProductRequest(product_id="x"))) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")
    assert await reason(stub.ListAssociations(v1.ListAssociationsRequest(product_id="x"))) == (
        "NOT_FOUND",
        "PRODUCT_NOT_FOUND",
    )
    assert await reason(stub.GetMatrix(v1.GetMatrixRequest())) == ("NOT_FOUND", "MATRIX_NOT_FOUND")
    assert await reason(stub.GetJob(v1.GetJobRequest(job_id="x"))) == ("NOT_FOUND", "JOB_NOT_FOUND")
    train = v1.CreateJobRequest(train=v1.TrainSpec(), request_id="1")
    assert await reason(stub.CreateJob(train)) == ("FAILED_PRECONDITION", "INPUTS_INCOMPLETE")
    matrix = v1.CreateJobRequest(matrix=v1.MatrixSpec(model_id="x"), request_id="1")
    assert await reason(stub.CreateJob(matrix)) == ("NOT_FOUND", "MODEL_NOT_FOUND")
    for token in ("%%%", paging.encode({"after": 7}), paging.encode({"else": "x"})):
        bad = ("INVALID_ARGUMENT", "BAD_PAGE_TOKEN")
        assert await reason(stub.ListProducts(v1.ListProductsRequest(page_token=token))) == bad
        assert await reason(stub.ListAssociations(v1.ListAssociationsRequest(page_token=token))) == bad


async def test_a_field_beyond_its_limit_is_named(stub: v1.RecommendServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Recommend(v1.RecommendRequest(customer_key=0, most=101))
    assert refused(error.value)[:2] == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert sorted(refused_fields(error.value)) == ["customer_key", "most"]


async def test_recommendations_are_eligible_ranked_reasoned_and_attributed(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    """R000-039, R002-072: each customer has his own list, with reasons and a token that brings the outcome home."""
    await house.learn()
    await house.train()
    eligible = CATALOGUE.eligible(PLACE.owned)
    lists = set()
    for number in (0, 1, 2, 50, 77):
        answer = await stub.Recommend(v1.RecommendRequest(customer_key=int(PLACE.keys[number]), most=100))
        assert sorted(each.product_id for each in answer.recommendations) == [
            product_id for product_id, free in zip(CATALOGUE.ids, eligible[number], strict=True) if free
        ]
        scores = [each.score for each in answer.recommendations]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score < 1 for score in scores)
        assert [each.rank for each in answer.recommendations] == list(range(1, len(scores) + 1))
        assert all(any("相近的客户" in reason for reason in each.reasons) for each in answer.recommendations)
        assert answer.model_id == "m1"
        token = paging.decode(answer.attribution_token)
        assert token["products"] == [each.product_id for each in answer.recommendations]
        lists.add(tuple(token["products"]))
    assert len(lists) == 5
    key = int(PLACE.keys[0])
    video = await stub.Recommend(v1.RecommendRequest(customer_key=key, most=100, categories=["视频"]))
    assert {each.product_id for each in video.recommendations} <= {"C1", "C2"}
    unknown = stub.Recommend(v1.RecommendRequest(customer_key=10**12))
    assert await reason(unknown) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")


async def test_who_declined_personalisation_gets_what_is_popular_and_no_model_is_asked(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    await house.learn()  # and no model at all
    owners = dict(zip(CATALOGUE.ids, PLACE.owned.sum(axis=0).tolist(), strict=True))
    answer = await stub.Recommend(v1.RecommendRequest(customer_key=int(PLACE.keys[5]), most=100, no_profile=True))
    free = CATALOGUE.eligible(PLACE.owned)[5]
    expected = sorted(
        (each for each, may in zip(CATALOGUE.ids, free, strict=True) if may), key=lambda e: (-owners[e], e)
    )
    assert [each.product_id for each in answer.recommendations] == expected
    assert [each.score for each in answer.recommendations] == [owners[each] / len(PLACE.keys) for each in expected]
    assert answer.model_id == ""
    unknown = stub.Recommend(v1.RecommendRequest(customer_key=10**12, no_profile=True))
    assert await reason(unknown) == ("NOT_FOUND", "CUSTOMER_NOT_FOUND")


async def test_a_champion_whose_file_was_touched_is_not_loaded_and_the_last_good_one_answers_on(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    await house.learn()
    await house.train("good")
    request = v1.RecommendRequest(customer_key=int(PLACE.keys[0]))
    before = await stub.Recommend(request)
    await house.train("bad", seed=2, promote=False)
    path = model_path("bad", workbench.GRAPH)
    house.lake.put(path, house.lake.get(path) + b"\0")
    async with house.db.begin() as tx:
        await house.models.promote(tx, "bad", house.tick())
        await tx.commit()
    house.forget()
    after = await stub.Recommend(request)
    assert after.model_id == "good"
    assert after.recommendations == before.recommendations
    assert (await stub.GetModel(v1.GetModelRequest())).model.model_id == "bad"


async def test_while_a_new_champion_loads_the_last_good_one_answers_and_no_connection_is_held(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    await house.learn()
    await house.train("good")
    request = v1.RecommendRequest(customer_key=int(PLACE.keys[0]))
    assert (await stub.Recommend(request)).model_id == "good"
    house.lake.slow, house.lake.go = "next", threading.Event()
    await house.train("next", seed=2)
    try:
        for _ in range(2):  # the second time in the middle of the load
            house.forget()
            answers = await asyncio.gather(*(stub.Recommend(request, timeout=60) for _ in range(40)))
            assert {answer.model_id for answer in answers} == {"good"}
    finally:
        house.lake.go.set()
    async with asyncio.timeout(60):
        while (await stub.Recommend(request)).model_id != "next":
            await asyncio.sleep(0.02)


async def test_the_columns_of_a_new_run_are_read_by_their_own_names_at_once(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    await house.learn()
    await house.train()
    request = v1.RecommendRequest(customer_key=int(PLACE.keys[0]), most=100)
    before = await stub.Recommend(request)
    async with house.db.begin() as tx:  # the same customer, by a run that has its columns in another order
        run = await house.inputs.run(tx, "")
        assert run is not None
        await house.inputs.keep_run(tx, replace(run, run_id="run-2"))
        row = PLACE.profile[0, ::-1].astype("<f4").tobytes()
        await house.inputs.load_profiles(tx, "run-2", [(int(PLACE.keys[0]), "G1", row)], (0, 10**9))
        await house.inputs.serve_run(tx, "run-2", FEATURES[::-1])
        await tx.commit()
    house.keeper._read_at += 3600  # no second passes
    after = await stub.Recommend(request)
    assert after.recommendations == before.recommendations


async def test_products_associations_and_models_page_to_the_end(stub: v1.RecommendServiceStub, house: House) -> None:
    """R002-068, R002-070: associations, and the registry of models with their metrics, page by page."""
    await house.learn()
    await house.train()
    seen, token = [], ""
    while True:
        page = await stub.ListProducts(v1.ListProductsRequest(page_size=3, page_token=token))
        seen += [each.product_id for each in page.products]
        token = page.next_page_token
        if not token:
            break
    assert seen == list(CATALOGUE.ids)
    one = (await stub.GetProduct(v1.GetProductRequest(product_id="B2"))).product
    assert (one.requires_product_id, one.owners) == ("B1", int(PLACE.owned[:, 4].sum()))
    found, token = [], ""
    while True:
        part = await stub.ListAssociations(v1.ListAssociationsRequest(page_size=7, page_token=token))
        found += [(each.left_product_id, each.right_product_id, each.lift) for each in part.associations]
        token = part.next_page_token
        if not token:
            break
    assert found == [(each.left, each.right, each.lift) for each in associations(PLACE.owned, CATALOGUE)]
    models = await stub.ListModels(v1.ListModelsRequest())
    assert [each.state for each in models.models] == [v1.Model.STATE_CHAMPION]
    assert models.models[0].metrics["parity"] == 1.0


async def test_the_same_request_and_the_same_inputs_give_one_job(stub: v1.RecommendServiceStub, house: House) -> None:
    await house.learn()
    begun = (await stub.ListJobs(v1.ListJobsRequest())).jobs
    assert [job.train.run_id for job in begun] == ["run-1"]  # by itself
    asked = v1.CreateJobRequest(train=v1.TrainSpec(seed=1), request_id="1")
    assert (await stub.CreateJob(asked)).job == begun[0]
    asked = v1.CreateJobRequest(train=v1.TrainSpec(seed=5), request_id="2")
    job = (await stub.CreateJob(asked)).job
    assert (job.train.run_id, job.train.seed, job.state) == ("run-1", 5, v1.Job.STATE_QUEUED)
    assert (await stub.CreateJob(asked)).job == job
    reused = stub.CreateJob(v1.CreateJobRequest(train=v1.TrainSpec(seed=6), request_id="2"))
    assert await reason(reused) == ("ABORTED", "REQUEST_ID_REUSED")
    stopped = (await stub.CancelJob(v1.CancelJobRequest(job_id=job.job_id, request_id="3"))).job
    assert stopped.state == v1.Job.STATE_CANCELLED
    again = (await stub.CancelJob(v1.CancelJobRequest(job_id=job.job_id, request_id="3"))).job
    assert again == stopped == (await stub.GetJob(v1.GetJobRequest(job_id=job.job_id))).job
    first = await stub.ListJobs(v1.ListJobsRequest(page_size=1))
    rest = await stub.ListJobs(v1.ListJobsRequest(page_size=1, page_token=first.next_page_token))
    assert {first.jobs[0].job_id, rest.jobs[0].job_id} == {job.job_id, begun[0].job_id}
    assert rest.next_page_token == ""


async def test_asking_again_after_a_failure_makes_a_new_job_and_what_begins_by_itself_does_not(
    stub: v1.RecommendServiceStub, house: House
) -> None:
    async def ask(request_id: str) -> v1.Job:
        return (await stub.CreateJob(v1.CreateJobRequest(train=v1.TrainSpec(seed=1), request_id=request_id))).job

    async def fail(job_id: str) -> None:
        async with house.db.begin() as tx:
            await tx.execute(
                text("UPDATE job SET state = 'FAILED', error = 'INTERNAL' WHERE job_id = :id"), [{"id": job_id}]
            )
            await tx.commit()

    await house.learn()
    first = await ask("1")
    await fail(first.job_id)
    second = await ask("2")
    assert second.job_id != first.job_id
    assert (second.state, second.train) == (v1.Job.STATE_QUEUED, first.train)
    assert await ask("2") == await ask("3") == second
    await stub.CancelJob(v1.CancelJobRequest(job_id=second.job_id, request_id="4"))
    third = await ask("5")
    assert third.job_id not in {first.job_id, second.job_id}
    await fail(third.job_id)
    async with house.db.begin() as tx:
        run = await house.inputs.run(tx, "")
        assert run is not None
        again = await house.asking.queue_train(tx, await house.inputs.inputs(tx, run), 1)
        await tx.commit()
    assert again.job_id == first.job_id
    await house.train()
    matrix = v1.MatrixSpec(model_id="m1")
    made = (await stub.CreateJob(v1.CreateJobRequest(matrix=matrix, request_id="6"))).job
    await fail(made.job_id)
    anew = (await stub.CreateJob(v1.CreateJobRequest(matrix=matrix, request_id="7"))).job
    assert (anew.job_id != made.job_id, anew.state) == (True, v1.Job.STATE_QUEUED)


async def test_published_matrices_are_followed_with_their_manifest(stub: v1.RecommendServiceStub, house: House) -> None:
    await house.learn()
    await house.train()
    async with house.db.begin() as tx:
        made = Matrix("x1", "m1", "run-1", DAY, 300, 900, NOW)
        await house.matrices.publish(tx, made, [])
        await outbox.put(tx, PUBLISHED, "x1", {"matrix_id": "x1"})
        await tx.commit()
    call = stub.WatchMatrices(v1.WatchMatricesRequest())
    told = await anext(aiter(call))
    call.cancel()
    assert (told.matrix.matrix_id, told.matrix.as_of_date.day, told.matrix.cells) == ("x1", 30, 900)
    manifest = await stub.GetMatrix(v1.GetMatrixRequest(matrix_id="x1"))
    assert manifest.matrix == told.matrix
    assert manifest.schema_version == 1
