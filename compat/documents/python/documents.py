"""The unmodified Python SDK against a running document service: `python3 documents.py <endpoint> <key>`.

Each check prints a line of JSON: its name, and what went wrong if it did.
"""

import json
import sys
import traceback
import uuid

from azure.cosmos import CosmosClient, PartitionKey, exceptions


def refused(status, call):
    try:
        call()
    except exceptions.CosmosHttpResponseError as error:
        assert error.status_code == status, f"{error.status_code} and not {status}: {error}"
        return error
    raise AssertionError(f"it was not refused with {status}")


def life_of_an_item(database):
    container = database.create_container("life", PartitionKey("/pk"))
    made = container.create_item({"id": "a b'é", "pk": "x", "n": 1})
    refused(409, lambda: container.create_item({"id": "a b'é", "pk": "x"}))
    assert container.read_item("a b'é", "x")["n"] == 1
    stale = {"etag": '"stale"', "match_condition": match_etag()}
    refused(412, lambda: container.replace_item("a b'é", {"id": "a b'é", "pk": "x"}, **stale))
    assert container.upsert_item({"id": "up", "pk": "x"})["id"] == "up"
    container.delete_item("up", "x")
    refused(404, lambda: container.read_item("up", "x"))
    error = refused(400, lambda: container.create_item({"id": "t", "pk": "x", "ttl": None}))
    assert "The input ttl 'null' is invalid" in str(error), error
    assert made["_self"].startswith("dbs/")


def resource_ids(database):
    """Given an item in place of an id, this SDK addresses it by its `_self`."""
    container = database.create_container("links", PartitionKey("/pk"))
    item = container.create_item({"id": "1", "pk": "x", "n": 1})
    assert container.read_item(item, "x")["n"] == 1
    refused(404, lambda: container.read_item(item, "y"))
    assert container.replace_item(item, {"id": "1", "pk": "x", "n": 2})["n"] == 2
    patch = [{"op": "incr", "path": "/n", "value": 5}]
    assert container.patch_item(item, "x", patch)["n"] == 7
    renamed = container.replace_item(item, {"id": "2", "pk": "x", "n": 8})
    assert (renamed["id"], renamed["_rid"]) == ("2", item["_rid"])
    refused(404, lambda: container.delete_item(item, "y"))
    container.delete_item(item, "x")
    refused(404, lambda: container.read_item("2", "x"))


def batches(database):
    container = database.create_container("batches", PartitionKey("/pk"))
    container.execute_item_batch([("create", ({"id": "1", "pk": "x"},)), ("upsert", ({"id": "2", "pk": "x"},))], "x")
    bad = [("create", ({"id": "3", "pk": "x"},)), ("create", ({"id": "1", "pk": "x"},))]
    try:
        container.execute_item_batch(bad, "x")
    except exceptions.CosmosBatchOperationError as error:
        assert error.error_index == 1 and error.status_code == 409, error
    else:
        raise AssertionError("the batch was not refused")
    assert [item["id"] for item in container.read_all_items()] == ["1", "2"]


def queries(database):
    container = database.create_container("queries", PartitionKey("/pk"))
    for n in range(25):
        container.create_item({"id": f"i{n}", "pk": "odd" if n % 2 else "even", "n": 24 - n})
    find = lambda query, **more: list(container.query_items(query, enable_cross_partition_query=True, **more))
    parameters = [{"name": "@low", "value": 20}]
    assert find("SELECT VALUE c.n FROM c WHERE c.n >= @low ORDER BY c.n", parameters=parameters) == [20, 21, 22, 23, 24]
    assert find("SELECT VALUE COUNT(1) FROM c") == [25]
    in_partition = container.query_items("SELECT VALUE c.n FROM c ORDER BY c.n", partition_key="odd")
    assert list(in_partition) == list(range(1, 25, 2))
    pages = container.query_items("SELECT * FROM c", enable_cross_partition_query=True, max_item_count=10).by_page()
    assert [len(list(page)) for page in pages] == [10, 10, 5]
    some = [("i0", "even"), ("i1", "odd"), ("i24", "even")]
    assert len(list(container.read_items(some))) == 3


def unequal_types(database):
    container = database.create_container("types", PartitionKey("/pk"))
    for id, v in {"a": None, "b": 1, "c": "1", "d": [1], "e": {"x": 1}}.items():
        container.create_item({"id": id, "pk": "x", "v": v})
    container.create_item({"id": "f", "pk": "x"})

    def find(condition, v):
        query = f"SELECT VALUE c.id FROM c WHERE {condition}"
        rows = container.query_items(query, parameters=[{"name": "@v", "value": v}], enable_cross_partition_query=True)
        return " ".join(rows)

    assert find("c.v != @v", None) == "b c d e"
    assert find("NOT (c.v = @v)", 1) == "a c d e"
    assert find("c.v NOT IN (@v, '1')", 1) == "a d e"
    assert find("c.v > @v", 0) == "b"


def offers(database, client):
    container = database.create_container("offers", PartitionKey("/pk"))
    assert container.get_throughput().offer_throughput == 400
    assert container.replace_throughput(800).offer_throughput == 800
    name = f"offered-{uuid.uuid4()}"
    offered = client.create_database(name, offer_throughput=1000)
    assert offered.get_throughput().offer_throughput == 1000
    assert offered.replace_throughput(2000).offer_throughput == 2000
    client.delete_database(name)


def feed(database):
    container = database.create_container("feed", PartitionKey("/pk"))
    for id in ["a", "b", "a", "c"]:
        container.upsert_item({"id": id, "pk": "x"})
    changes = container.query_items_change_feed(start_time="Beginning")
    assert [change["id"] for change in changes] == ["b", "a", "c"]
    token = container.client_connection.last_response_headers["etag"]
    container.upsert_item({"id": "d", "pk": "x"})
    more = container.query_items_change_feed(continuation=token)
    assert [change["id"] for change in more] == ["d"]


def match_etag():
    from azure.core import MatchConditions

    return MatchConditions.IfNotModified


def main(endpoint, key):
    client = CosmosClient(endpoint, key)
    name = f"python-{uuid.uuid4()}"
    database = client.create_database(name)
    checks = {
        "an item is created, read, replaced and deleted": lambda: life_of_an_item(database),
        "items by their resource ids": lambda: resource_ids(database),
        "batches": lambda: batches(database),
        "queries, pages and many reads": lambda: queries(database),
        "values of different types are unequal": lambda: unequal_types(database),
        "the throughput of containers and databases": lambda: offers(database, client),
        "the change feed": lambda: feed(database),
    }
    for check, run in checks.items():
        line = {"check": check}
        try:
            run()
        except Exception:
            line["error"] = traceback.format_exc()
        print(json.dumps(line), flush=True)
    client.delete_database(name)


main(*sys.argv[1:])
