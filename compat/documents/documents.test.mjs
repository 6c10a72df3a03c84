// The unmodified @azure/cosmos SDK against a running document service.
//
// CHAPPE_DOCUMENTS_URL      base URL, such as http://localhost:8081/ (required)
// CHAPPE_DOCUMENTS_TLS_URL  the same over TLS (optional); its CA in NODE_EXTRA_CA_CERTS
// CHAPPE_DOCUMENTS_KEY      account key (default: the public development key)

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { randomUUID } from "node:crypto";
import {
  ChangeFeedStartFrom,
  ConsistencyLevel,
  CosmosClient,
  PatchOperationType,
  PartitionKeyBuilder,
} from "@azure/cosmos";

const DEVELOPMENT_KEY =
  "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==";
const key = process.env.CHAPPE_DOCUMENTS_KEY ?? DEVELOPMENT_KEY;
const url = process.env.CHAPPE_DOCUMENTS_URL;
if (!url) {
  throw new Error("set CHAPPE_DOCUMENTS_URL to the address of a running document service");
}

suite("over HTTP", url);
const tlsUrl = process.env.CHAPPE_DOCUMENTS_TLS_URL;
if (tlsUrl) {
  suite("over TLS", tlsUrl);
} else {
  test("over TLS", { skip: "CHAPPE_DOCUMENTS_TLS_URL is not set" }, () => {});
}

// Asserts that the call fails with this status code.
function refusedWith(code) {
  return (error) => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`);
    return true;
  };
}

function suite(name, endpoint) {
  describe(name, () => {
    const client = new CosmosClient({ endpoint, key, consistencyLevel: ConsistencyLevel.Session });
    const databaseId = `compat-${randomUUID()}`;
    let database;
    let containers = 0;

    async function newContainer(definition = {}) {
      const id = `c${containers++}`;
      const made = await database.containers.create({ id, partitionKey: "/pk", ...definition });
      return made.container;
    }

    before(async () => {
      database = (await client.databases.createIfNotExists({ id: databaseId })).database;
    });

    after(async () => {
      await database?.delete();
      client.dispose();
    });

    test("the account names its endpoint", async () => {
      const { resource } = await client.getDatabaseAccount();
      assert.equal(resource.consistencyPolicy, "Session");
      assert.equal(new URL(await client.getWriteEndpoint()).host, new URL(endpoint).host);
    });

    test("a wrong key is rejected", async () => {
      const stranger = new CosmosClient({ endpoint, key: Buffer.from("wrong").toString("base64") });
      await assert.rejects(stranger.databases.readAll().fetchAll(), refusedWith(401));
      stranger.dispose();
    });

    test("databases and containers", async () => {
      const again = await client.databases.createIfNotExists({ id: databaseId });
      assert.equal(again.statusCode, 200);
      await assert.rejects(client.databases.create({ id: databaseId }), refusedWith(409));
      const all = await client.databases.readAll().fetchAll();
      assert.ok(all.resources.some(({ id }) => id === databaseId));
      const named = { query: "SELECT * FROM root r WHERE r.id = @id", parameters: [{ name: "@id", value: databaseId }] };
      assert.equal((await client.databases.query(named).fetchAll()).resources.length, 1);

      const container = await newContainer({ defaultTtl: 60 });
      const { resource } = await container.read();
      assert.deepEqual(resource.partitionKey.paths, ["/pk"]);
      assert.equal(resource.defaultTtl, 60);
      await container.replace({ ...resource, defaultTtl: 120 });
      assert.equal((await container.read()).resource.defaultTtl, 120);
      const listed = await database.containers.readAll().fetchAll();
      assert.ok(listed.resources.some(({ id }) => id === container.id));
      const { resources: ranges } = await container.readPartitionKeyRanges().fetchAll();
      assert.equal(ranges.length, 1);
      const { resource: offer } = await container.readOffer();
      assert.equal(offer.content.offerThroughput, 400);
      const offered = await client.databases.create({ id: `${databaseId}-offered`, throughput: 1000 });
      const { resource: databaseOffer } = await offered.database.readOffer();
      assert.equal(databaseOffer.content.offerThroughput, 1000);
      await offered.database.delete();
      await container.delete();
      await assert.rejects(container.read(), refusedWith(404));
    });

    test("an item is created, read, replaced and deleted", async () => {
      const { items } = await newContainer();
      const created = await items.create({ id: "a b'é", pk: "x", n: 1 });
      assert.equal(created.statusCode, 201);
      assert.ok(created.headers["x-ms-session-token"].startsWith("0:-1#"));
      await assert.rejects(items.create({ id: "a b'é", pk: "x" }), refusedWith(409));

      const one = created.item;
      const read = await one.read();
      assert.equal(read.resource.n, 1);
      assert.equal(read.resource._etag, read.etag);
      const replaced = await one.replace({ id: "a b'é", pk: "x", n: 2 }, { accessCondition: { type: "IfMatch", condition: read.etag } });
      assert.equal(replaced.resource.n, 2);
      const stale = { accessCondition: { type: "IfMatch", condition: read.etag } };
      await assert.rejects(one.replace({ id: "a b'é", pk: "x" }, stale), refusedWith(412));
      await assert.rejects(one.delete(stale), refusedWith(412));
      const unchanged = await one.read({ accessCondition: { type: "IfNoneMatch", condition: replaced.etag } });
      assert.equal(unchanged.statusCode, 304);

      assert.equal((await items.upsert({ id: "up", pk: "x" })).statusCode, 201);
      assert.equal((await items.upsert({ id: "up", pk: "x", n: 1 })).statusCode, 200);
      const generated = await items.create({ pk: "x" });
      assert.match(generated.resource.id, /^[0-9a-f-]{36}$/);

      const { resource: renamed } = await one.replace({ id: "renamed", pk: "x" });
      assert.equal(renamed._rid, created.resource._rid);
      assert.equal((await one.read()).statusCode, 404);
      await one.container.item("renamed", "x").replace({ id: "a b'é", pk: "x" });
      await assert.rejects(items.create({ id: "ttl", pk: "x", ttl: null }), refusedWith(400));

      assert.equal((await one.delete()).statusCode, 204);
      const gone = await one.read();
      assert.equal(gone.statusCode, 404);
      assert.equal(gone.resource, undefined);
      await assert.rejects(items.create({ id: "a/b", pk: "x" }));
    });

    test("partition keys of every kind", async () => {
      const container = await newContainer();
      for (const pk of ["x", "é", 5, true, null, undefined]) {
        await container.items.create({ id: "same", pk });
        const { resource } = await container.item("same", pk).read();
        assert.equal(resource.pk, pk, String(pk));
      }
      assert.equal((await container.items.readAll().fetchAll()).resources.length, 6);

      const hierarchical = await newContainer({ partitionKey: { paths: ["/t", "/u"], kind: "MultiHash", version: 2 } });
      await hierarchical.items.create({ id: "1", t: "a", u: "b" });
      await hierarchical.items.create({ id: "2", t: "a", u: "c" });
      await hierarchical.items.create({ id: "3", t: "b", u: "b" });
      const full = new PartitionKeyBuilder().addValue("a").addValue("b").build();
      assert.equal((await hierarchical.item("1", full).read()).resource.id, "1");
      const prefix = await hierarchical.items.query("SELECT * FROM c", { partitionKey: ["a"] }).fetchAll();
      assert.deepEqual(prefix.resources.map(({ id }) => id), ["1", "2"]);
    });

    test("patches and batches", async () => {
      const { items } = await newContainer();
      const { item } = await items.create({ id: "1", pk: "x", n: 1 });
      const patched = await item.patch([
        { op: PatchOperationType.incr, path: "/n", value: 4 },
        { op: PatchOperationType.add, path: "/tags", value: ["new"] },
      ]);
      assert.equal(patched.resource.n, 5);
      const conditional = { condition: "from c where c.n = 1", operations: [{ op: "set", path: "/n", value: 0 }] };
      await assert.rejects(item.patch(conditional), refusedWith(412));
      const done = await items.batch(
        [
          { operationType: "Create", resourceBody: { id: "2", pk: "x" } },
          { operationType: "Delete", id: "1" },
        ],
        "x",
      );
      assert.deepEqual(done.result.map(({ statusCode }) => statusCode), [201, 204]);
      const failed = await items.batch(
        [
          { operationType: "Create", resourceBody: { id: "3", pk: "x" } },
          { operationType: "Create", resourceBody: { id: "2", pk: "x" } },
        ],
        "x",
      );
      assert.deepEqual(failed.result.map(({ statusCode }) => statusCode), [424, 409]);
      assert.deepEqual((await items.readAll().fetchAll()).resources.map(({ id }) => id), ["2"]);
    });

    test("deleting by partition key", async () => {
      const container = await newContainer();
      await container.items.create({ id: "1", pk: "x" });
      await container.items.create({ id: "2", pk: "x" });
      await container.items.create({ id: "1", pk: "y" });
      await container.deleteAllItemsForPartitionKey("x");
      const { resources } = await container.items.readAll().fetchAll();
      assert.deepEqual(resources.map(({ pk }) => pk), ["y"]);
    });

    test("queries, with parameters, order and pages", async () => {
      const { items } = await newContainer();
      for (let n = 0; n < 25; n++) {
        await items.create({ id: `i${n}`, pk: n % 2 ? "odd" : "even", n: 24 - n, name: `name ${n}` });
      }
      const where = {
        query: "SELECT c.id, c.n AS number FROM c WHERE c.n >= @low AND c.n < @high AND STARTSWITH(c.name, @start)",
        parameters: [
          { name: "@low", value: 10 },
          { name: "@high", value: 12 },
          { name: "@start", value: "name" },
        ],
      };
      const found = await items.query(where).fetchAll();
      assert.deepEqual(found.resources, [{ id: "i13", number: 11 }, { id: "i14", number: 10 }]);
      const count = await items.query("SELECT VALUE COUNT(1) FROM c WHERE c.pk = 'odd'").fetchAll();
      assert.deepEqual(count.resources, [12]);
      const inPartition = await items.query("SELECT VALUE c.n FROM c ORDER BY c.n", { partitionKey: "odd" }).fetchAll();
      assert.deepEqual(inPartition.resources, Array.from({ length: 12 }, (_, index) => 2 * index + 1));

      for (const query of ["SELECT * FROM c", "SELECT * FROM c ORDER BY c.n DESC"]) {
        const pages = [];
        const seen = [];
        let continuationToken;
        do {
          const page = await items.query(query, { maxItemCount: 10, continuationToken }).fetchNext();
          pages.push(page.resources.length);
          seen.push(...page.resources.map(({ n }) => n));
          continuationToken = page.continuationToken;
        } while (continuationToken);
        assert.deepEqual(pages, [10, 10, 5], query);
        assert.deepEqual(seen, Array.from({ length: 25 }, (_, index) => 24 - index), query);
      }
      const planned = await items.query("SELECT VALUE COUNT(1) FROM c", { forceQueryPlan: true }).fetchAll();
      assert.deepEqual(planned.resources, [25]);
      await assert.rejects(items.query("SELECT DISTINCT c.pk FROM c").fetchAll(), (error) => {
        assert.equal(error.code, 400);
        assert.match(error.message, /DISTINCT is not supported/);
        return true;
      });
      await assert.rejects(items.query("SELECT * FRM c").fetchAll(), refusedWith(400));
    });

    test("values of different types are unequal", async () => {
      const { items } = await newContainer();
      for (const [id, v] of Object.entries({ a: null, b: 1, c: "1", d: [1], e: { x: 1 }, f: undefined })) {
        await items.create({ id, pk: "x", v });
      }
      const find = async (condition, v) => {
        const query = { query: `SELECT VALUE c.id FROM c WHERE ${condition}`, parameters: [{ name: "@v", value: v }] };
        return (await items.query(query).fetchAll()).resources.join(" ");
      };
      assert.equal(await find("c.v != @v", null), "b c d e");
      assert.equal(await find("c.v = @v", null), "a");
      assert.equal(await find("NOT (c.v = @v)", 1), "a c d e");
      assert.equal(await find("c.v != @v", [1]), "a b c e");
      assert.equal(await find("c.v NOT IN (@v, '1')", 1), "a d e");
      assert.equal(await find("c.v[0] != @v", "1"), "d");
      assert.equal(await find("c.v > @v", 0), "b");
      assert.equal(await find("NOT (c.v > @v)", 5), "b");
    });

    test("the change feed", async () => {
      const { items } = await newContainer();
      const feed = (changeFeedStartFrom) =>
        items.getChangeFeedIterator({ changeFeedStartFrom, maxItemCount: 2 });
      await items.create({ id: "before", pk: "x" });
      const first = await feed(ChangeFeedStartFrom.Now()).readNext();
      assert.equal(first.statusCode, 304);
      assert.equal(first.headers["x-ms-item-count"], "0");
      for (const id of ["a", "b", "a", "c"]) {
        await items.upsert({ id, pk: "x" });
      }
      async function drain(iterator) {
        const ids = [];
        let token;
        for await (const page of iterator.getAsyncIterator()) {
          token = page.continuationToken;
          if (page.statusCode === 304) {
            break;
          }
          ids.push(...page.result.map(({ id }) => id));
        }
        return { ids, token };
      }
      const all = await drain(feed(ChangeFeedStartFrom.Beginning()));
      assert.deepEqual(all.ids, ["before", "b", "a", "c"]);
      await items.upsert({ id: "b", pk: "x" });
      const more = await drain(feed(ChangeFeedStartFrom.Continuation(all.token)));
      assert.deepEqual(more.ids, ["b"]);
      const sinceNow = await drain(feed(ChangeFeedStartFrom.Continuation(first.continuationToken)));
      assert.deepEqual(sinceNow.ids, ["a", "c", "b"]);
      const ofOther = await drain(feed(ChangeFeedStartFrom.Beginning("y")));
      assert.deepEqual(ofOther.ids, []);
      const later = await drain(feed(ChangeFeedStartFrom.Time(new Date(Date.now() - 60_000))));
      assert.deepEqual(later.ids, ["before", "a", "c", "b"]);
    });

    test("unsupported features are rejected by name", async () => {
      const container = await newContainer();
      const procedure = { id: "p", body: "function () {}" };
      await assert.rejects(container.scripts.storedProcedures.create(procedure), (error) => {
        assert.equal(error.code, 400);
        assert.match(error.message, /not supported/);
        return true;
      });
      assert.deepEqual((await container.scripts.storedProcedures.readAll().fetchAll()).resources, []);
      const create = { operationType: "Create", partitionKey: "x", resourceBody: { id: "1", pk: "x" } };
      await assert.rejects(container.items.bulk([create]), /bulk request .* is not supported/);
      assert.deepEqual((await container.items.readAll().fetchAll()).resources, []);
    });
  });
}
