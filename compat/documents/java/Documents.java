// The unmodified Java SDK against a running document service: `java Documents.java <endpoint> <key>`. Each check prints a line of JSON: its
// name, and the failure if there was one.

import com.azure.cosmos.ChangeFeedProcessor;
import com.azure.cosmos.ChangeFeedProcessorBuilder;
import com.azure.cosmos.CosmosAsyncClient;
import com.azure.cosmos.CosmosAsyncContainer;
import com.azure.cosmos.CosmosAsyncDatabase;
import com.azure.cosmos.CosmosClientBuilder;
import com.azure.cosmos.CosmosException;
import com.azure.cosmos.models.ChangeFeedProcessorItem;
import com.azure.cosmos.models.ChangeFeedProcessorOptions;
import com.azure.cosmos.models.CosmosBatch;
import com.azure.cosmos.models.CosmosChangeFeedRequestOptions;
import com.azure.cosmos.models.CosmosContainerProperties;
import com.azure.cosmos.models.CosmosItemIdentity;
import com.azure.cosmos.models.CosmosItemRequestOptions;
import com.azure.cosmos.models.CosmosPatchOperations;
import com.azure.cosmos.models.CosmosQueryRequestOptions;
import com.azure.cosmos.models.FeedRange;
import com.azure.cosmos.models.PartitionKey;
import com.azure.cosmos.models.PartitionKeyDefinition;
import com.azure.cosmos.models.PartitionKeyDefinitionVersion;
import com.azure.cosmos.models.SqlParameter;
import com.azure.cosmos.models.SqlQuerySpec;
import com.azure.cosmos.models.ThroughputProperties;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;

public final class Documents {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final CosmosAsyncDatabase database;

    private Documents(CosmosAsyncDatabase database) {
        this.database = database;
    }

    public static void main(String[] arguments) {
        CosmosAsyncClient client = new CosmosClientBuilder()
            .endpoint(arguments[0])
            .key(arguments[1])
            .gatewayMode()
            .contentResponseOnWriteEnabled(true)
            .buildAsyncClient();
        String name = "java-" + UUID.randomUUID();
        client.createDatabaseIfNotExists(name).block(PATIENCE);
        Documents documents = new Documents(client.getDatabase(name));
        check("an item is created, read, replaced and deleted", documents::lifeOfAnItem);
        check("batches and patches", documents::batchesAndPatches);
        check("queries, pages and many reads", documents::queries);
        check("values of different types are unequal", documents::unequalTypes);
        check("direct mode is rejected with the advice to use gateway mode", () -> documents.directMode(arguments[0], arguments[1]));
        check("the throughput of containers and databases", () -> documents.throughput(client));
        check("the change feed by pull", documents::pulledFeed);
        check("the change feed processor, handleChanges", documents::changes);
        check("the change feed processor, handleLatestVersionChanges", documents::latestVersionChanges);
        documents.database.delete().block(PATIENCE);
        client.close();
        System.exit(0);
    }

    private interface Check {
        void run() throws Exception;
    }

    private static void check(String name, Check check) {
        ObjectNode line = JSON.createObjectNode().put("check", name);
        try {
            check.run();
        } catch (Throwable cause) {
            java.io.StringWriter trace = new java.io.StringWriter();
            cause.printStackTrace(new java.io.PrintWriter(trace));
            line.put("error", trace.toString());
        }
        System.out.println(line);
    }

    private static void equal(Object actual, Object expected) {
        if (!expected.equals(actual)) {
            throw new AssertionError("it is " + actual + " and should be " + expected);
        }
    }

    private static void refused(int status, Check check) throws Exception {
        try {
            check.run();
        } catch (CosmosException cause) {
            equal(cause.getStatusCode(), status);
            return;
        }
        throw new AssertionError("it was not refused with " + status);
    }

    private static ObjectNode item(String id, String key, int n) {
        return JSON.createObjectNode().put("id", id).put("pk", key).put("n", n);
    }

    private CosmosAsyncContainer container(String id, String path) {
        PartitionKeyDefinition key = new PartitionKeyDefinition();
        key.setPaths(List.of(path));
        key.setVersion(PartitionKeyDefinitionVersion.V2);
        CosmosContainerProperties made =
            database.createContainer(new CosmosContainerProperties(id, key)).block(PATIENCE).getProperties();
        equal(made.getPartitionKeyDefinition().getVersion(), PartitionKeyDefinitionVersion.V2);
        return database.getContainer(id);
    }

    private void lifeOfAnItem() throws Exception {
        CosmosAsyncContainer container = container("life", "/pk");
        PartitionKey key = new PartitionKey("x");
        var created = container.createItem(item("a b'é", "x", 1)).block(PATIENCE);
        equal(created.getStatusCode(), 201);
        refused(409, () -> container.createItem(item("a b'é", "x", 1)).block(PATIENCE));
        var read = container.readItem("a b'é", key, ObjectNode.class).block(PATIENCE);
        equal(read.getItem().get("n").asInt(), 1);
        CosmosItemRequestOptions stale = new CosmosItemRequestOptions().setIfMatchETag(read.getETag());
        equal(container.replaceItem(item("a b'é", "x", 2), "a b'é", key).block(PATIENCE).getStatusCode(), 200);
        refused(412, () -> container.replaceItem(item("a b'é", "x", 3), "a b'é", key, stale).block(PATIENCE));
        equal(container.upsertItem(item("up", "x", 1)).block(PATIENCE).getStatusCode(), 201);
        equal(container.upsertItem(item("up", "x", 2)).block(PATIENCE).getStatusCode(), 200);
        equal(container.deleteItem("up", key).block(PATIENCE).getStatusCode(), 204);
        refused(404, () -> container.readItem("up", key, ObjectNode.class).block(PATIENCE));
        CosmosContainerProperties properties = container.read().block(PATIENCE).getProperties();
        equal(properties.getId(), "life");
        equal(container.replace(properties.setDefaultTimeToLiveInSeconds(100)).block(PATIENCE).getStatusCode(), 200);
    }

    private void batchesAndPatches() throws Exception {
        CosmosAsyncContainer container = container("batches", "/pk");
        PartitionKey key = new PartitionKey("x");
        CosmosBatch batch = CosmosBatch.createCosmosBatch(key);
        batch.createItemOperation(item("1", "x", 1));
        batch.upsertItemOperation(item("2", "x", 2));
        equal(container.executeCosmosBatch(batch).block(PATIENCE).isSuccessStatusCode(), true);
        CosmosBatch failing = CosmosBatch.createCosmosBatch(key);
        failing.createItemOperation(item("3", "x", 1));
        failing.createItemOperation(item("1", "x", 1));
        var results = container.executeCosmosBatch(failing).block(PATIENCE).getResults();
        equal(List.of(results.get(0).getStatusCode(), results.get(1).getStatusCode()), List.of(424, 409));
        var patched = container
            .patchItem("1", key, CosmosPatchOperations.create().increment("/n", 4).add("/tag", "new"), ObjectNode.class)
            .block(PATIENCE);
        equal(patched.getItem().get("n").asInt(), 5);
    }

    private void queries() {
        CosmosAsyncContainer container = container("queries", "/pk");
        List<CosmosItemIdentity> some = new ArrayList<>();
        for (int n = 0; n < 25; n++) {
            container.createItem(item("i" + n, n % 2 == 0 ? "even" : "odd", 24 - n)).block(PATIENCE);
            if (n % 5 == 0) {
                some.add(new CosmosItemIdentity(new PartitionKey(n % 2 == 0 ? "even" : "odd"), "i" + n));
            }
        }
        SqlQuerySpec query = new SqlQuerySpec(
            "SELECT VALUE c.n FROM c WHERE c.n >= @low ORDER BY c.n", List.of(new SqlParameter("@low", 20)));
        var found = container.queryItems(query, new CosmosQueryRequestOptions(), Integer.class);
        equal(found.collectList().block(PATIENCE), List.of(20, 21, 22, 23, 24));
        var pages = container.queryItems("SELECT * FROM c", ObjectNode.class).byPage(10);
        equal(pages.map(page -> page.getResults().size()).collectList().block(PATIENCE), List.of(10, 10, 5));
        equal(container.queryItems("SELECT VALUE COUNT(1) FROM c", Integer.class).collectList().block(PATIENCE), List.of(25));
        equal(container.readMany(some, ObjectNode.class).block(PATIENCE).getResults().size(), 5);
    }

    private void unequalTypes() {
        CosmosAsyncContainer container = container("types", "/pk");
        container.createItem(JSON.createObjectNode().put("id", "a").put("pk", "x").putNull("v")).block(PATIENCE);
        container.createItem(JSON.createObjectNode().put("id", "b").put("pk", "x").put("v", 1)).block(PATIENCE);
        container.createItem(JSON.createObjectNode().put("id", "c").put("pk", "x").put("v", "1")).block(PATIENCE);
        container.createItem(JSON.createObjectNode().put("id", "d").put("pk", "x")).block(PATIENCE);
        for (var pair : List.of(
            List.of("c.v != null", "b c"), List.of("c.v != 1", "a c"), List.of("NOT (c.v = '1')", "a b"),
            List.of("c.v NOT IN (1, null)", "c"), List.of("c.v < 2", "b"))) {
            var ids = container.queryItems("SELECT VALUE c.id FROM c WHERE " + pair.get(0), String.class);
            equal(String.join(" ", ids.collectList().block(PATIENCE)), pair.get(1));
        }
    }

    /** A client in direct mode, the default of Java and .NET, requests the addresses of the data before it reads an item. */
    private void directMode(String endpoint, String key) throws Exception {
        container("direct", "/pk");
        try (CosmosAsyncClient client =
                new CosmosClientBuilder().endpoint(endpoint).key(key).directMode().buildAsyncClient()) {
            CosmosAsyncContainer container = client.getDatabase(database.getId()).getContainer("direct");
            container.createItem(item("1", "x", 1)).block(PATIENCE);
        } catch (CosmosException cause) {
            equal(cause.getStatusCode(), 400);
            if (!cause.getMessage().contains("no direct mode")) {
                throw cause;
            }
            return;
        }
        throw new AssertionError("an item was written in direct mode");
    }

    private void throughput(CosmosAsyncClient client) {
        CosmosAsyncContainer container = container("throughput", "/pk");
        equal(container.readThroughput().block(PATIENCE).getProperties().getManualThroughput(), 400);
        container.replaceThroughput(ThroughputProperties.createManualThroughput(800)).block(PATIENCE);
        equal(container.readThroughput().block(PATIENCE).getProperties().getManualThroughput(), 800);
        String name = "java-offered-" + UUID.randomUUID();
        client.createDatabase(name, ThroughputProperties.createManualThroughput(1000)).block(PATIENCE);
        CosmosAsyncDatabase offered = client.getDatabase(name);
        equal(offered.readThroughput().block(PATIENCE).getProperties().getManualThroughput(), 1000);
        offered.delete().block(PATIENCE);
    }

    private void pulledFeed() {
        CosmosAsyncContainer container = container("pulled", "/pk");
        for (String id : List.of("a", "b", "a", "c")) {
            container.upsertItem(item(id, "x", 1)).block(PATIENCE);
        }
        var options = CosmosChangeFeedRequestOptions.createForProcessingFromBeginning(FeedRange.forFullRange());
        var pages = container.queryChangeFeed(options, JsonNode.class).byPage().collectList().block(PATIENCE);
        List<String> ids = new ArrayList<>();
        pages.forEach(page -> page.getResults().forEach(change -> ids.add(change.get("id").asText())));
        equal(ids, List.of("b", "a", "c"));
        container.upsertItem(item("d", "x", 1)).block(PATIENCE);
        String token = pages.get(pages.size() - 1).getContinuationToken();
        var more = container
            .queryChangeFeed(CosmosChangeFeedRequestOptions.createForProcessingFromContinuation(token), JsonNode.class)
            .collectList()
            .block(PATIENCE);
        equal(more.size(), 1);
        equal(more.get(0).get("id").asText(), "d");
    }

    private void changes() throws Exception {
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        processor("changes", seen, builder -> builder.handleChanges(
            changes -> changes.forEach(change -> seen.add(change.get("id").asText()))));
    }

    private void latestVersionChanges() throws Exception {
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        processor("latest", seen, builder -> builder.handleLatestVersionChanges(changes -> {
            for (ChangeFeedProcessorItem change : changes) {
                JsonNode current = change.getCurrent();
                boolean told = change.getChangeFeedMetaData().getLogSequenceNumber() > 0
                    && change.getChangeFeedMetaData().getConflictResolutionTimestamp() != null
                    && current.get("_lsn") == null;
                seen.add(told ? current.get("id").asText() : "without metadata");
            }
        }));
    }

    /**
     * Items from before and after the start reach the processor; one that starts later continues where the first stopped. The last
     * batch before a stop may come again: the handler gets it before its checkpoint is written.
     */
    private void processor(String name, BlockingQueue<String> seen, UnaryOperator<ChangeFeedProcessorBuilder> handle)
        throws Exception {
        CosmosAsyncContainer feed = container(name, "/pk");
        CosmosAsyncContainer leases = container(name + "-leases", "/id");
        feed.createItem(item("before", "x", 1)).block(PATIENCE);
        ChangeFeedProcessor first = start(feed, leases, "first", handle);
        expect(seen, "before", "");
        feed.createItem(item("after", "x", 1)).block(PATIENCE);
        expect(seen, "after", "");
        first.stop().block(PATIENCE);
        feed.createItem(item("between", "y", 1)).block(PATIENCE);
        ChangeFeedProcessor second = start(feed, leases, "second", handle);
        expect(seen, "between", "after");
        second.stop().block(PATIENCE);
    }

    private static ChangeFeedProcessor start(
        CosmosAsyncContainer feed,
        CosmosAsyncContainer leases,
        String host,
        UnaryOperator<ChangeFeedProcessorBuilder> handle) {
        ChangeFeedProcessorOptions options = new ChangeFeedProcessorOptions()
            .setStartFromBeginning(true)
            .setFeedPollDelay(Duration.ofMillis(100))
            .setLeaseAcquireInterval(Duration.ofMillis(500))
            .setLeaseRenewInterval(Duration.ofMillis(500))
            .setLeaseExpirationInterval(Duration.ofSeconds(2));
        ChangeFeedProcessor processor = handle
            .apply(new ChangeFeedProcessorBuilder().hostName(host).feedContainer(feed).leaseContainer(leases).options(options))
            .buildChangeFeedProcessor();
        processor.start().block(PATIENCE);
        return processor;
    }

    /** Waits for an item; only the item that may come again may come before it. */
    private static void expect(BlockingQueue<String> seen, String wanted, String again) throws Exception {
        String id = again;
        while (id != null && id.equals(again)) {
            id = seen.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        }
        if (id == null) {
            throw new AssertionError(wanted + " did not come");
        }
        equal(id, wanted);
    }
}
