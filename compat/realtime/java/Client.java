// The Java client of SignalR, controlled by lines of JSON; see agent.mjs.

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import com.microsoft.signalr.HubConnection;
import com.microsoft.signalr.HubConnectionBuilder;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Observable;
import io.reactivex.rxjava3.core.Single;
import io.reactivex.rxjava3.plugins.RxJavaPlugins;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public final class Client {
    private static final Gson GSON = new Gson();
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static final Map<String, HubConnection> HUBS = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws Exception {
        // Errors that arrive after their receiver was disposed concern the client only; the default would end the thread.
        RxJavaPlugins.setErrorHandler(error -> System.err.println("late: " + error));
        ExecutorService workers = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject command = GSON.fromJson(line, JsonObject.class);
            // Sends must keep their order, so they are not passed to a worker thread.
            if (command.get("do").getAsString().equals("send")) answer(command);
            else workers.execute(() -> answer(command));
        }
        System.exit(0);
    }

    private static void answer(JsonObject command) {
        JsonObject reply = new JsonObject();
        reply.add("id", command.get("id"));
        try {
            reply.add("value", obey(command));
        } catch (Throwable error) {
            reply.addProperty("error", String.valueOf(error.getMessage()));
        }
        write(reply);
    }

    private static synchronized void write(JsonObject line) {
        OUT.println(GSON.toJson(line));
    }

    private static JsonElement obey(JsonObject command) {
        String name = command.get("client").getAsString();
        if (command.get("do").getAsString().equals("start")) return start(name, command);
        HubConnection hub = HUBS.get(name);
        switch (command.get("do").getAsString()) {
            case "invoke":
                return hub.invoke(JsonElement.class, target(command), args(command).toArray()).blockingGet();
            case "run":
                hub.invoke(target(command), args(command).toArray()).blockingAwait();
                return JsonNull.INSTANCE;
            case "send":
                hub.send(target(command), args(command).toArray());
                return JsonNull.INSTANCE;
            case "stream":
                return stream(hub, command);
            case "upload":
                return upload(hub, command);
            case "stop":
                hub.stop().blockingAwait();
                return JsonNull.INSTANCE;
            default:
                throw new IllegalArgumentException("there is no command " + command.get("do"));
        }
    }

    private static JsonElement start(String name, JsonObject command) {
        boolean polls = command.get("transport").getAsString().equals("LongPolling");
        var builder = HubConnectionBuilder.create(command.get("url").getAsString())
            .withTransport(polls ? TransportEnum.LONG_POLLING : TransportEnum.WEBSOCKETS);
        if (command.has("accessToken")) builder.withAccessTokenProvider(Single.just(command.get("accessToken").getAsString()));
        HubConnection hub = builder.build();
        hub.on("news", (kind, value) -> {
            JsonObject event = event(name, "news");
            JsonArray heard = new JsonArray();
            heard.add(kind);
            heard.add(value);
            event.add("args", heard);
            write(event);
        }, JsonElement.class, JsonElement.class);
        hub.onWithResult("double", number -> Single.just(number * 2), Integer.class);
        hub.onWithResult("throw", text -> Single.error(new RuntimeException(text)), String.class);
        hub.onClosed(error -> {
            JsonObject event = event(name, "life");
            event.addProperty("what", "closed");
            if (error != null) event.addProperty("detail", error.getMessage());
            write(event);
        });
        HUBS.put(name, hub);
        hub.start().blockingAwait();
        return new JsonPrimitive(hub.getConnectionId());
    }

    private static JsonElement stream(HubConnection hub, JsonObject command) {
        int take = command.get("take").getAsInt();
        JsonObject result = new JsonObject();
        JsonArray items = new JsonArray();
        result.add("items", items);
        Observable<JsonElement> stream = hub.stream(JsonElement.class, target(command), args(command).toArray());
        // When the number of items is reached, the subscription is disposed, which cancels the stream in this client.
        if (take > 0) stream = stream.take(take);
        stream.materialize().blockingForEach(notification -> {
            if (notification.isOnNext()) items.add(notification.getValue());
            if (notification.isOnError()) result.addProperty("error", notification.getError().getMessage());
        });
        return result;
    }

    private static JsonElement upload(HubConnection hub, JsonObject command) {
        List<Object> args = args(command);
        Observable<Object> stream = Observable.fromIterable(list(command.getAsJsonArray("items")));
        if (command.has("failure")) {
            stream = stream.concatWith(Observable.error(new RuntimeException(command.get("failure").getAsString())));
        }
        args.add(stream);
        return hub.invoke(JsonElement.class, target(command), args.toArray()).blockingGet();
    }

    private static JsonObject event(String client, String kind) {
        JsonObject event = new JsonObject();
        event.addProperty("client", client);
        event.addProperty("event", kind);
        return event;
    }

    private static String target(JsonObject command) {
        return command.get("target").getAsString();
    }

    private static List<Object> args(JsonObject command) {
        return list(command.getAsJsonArray("args"));
    }

    private static List<Object> list(JsonArray array) {
        List<Object> list = new ArrayList<>();
        array.forEach(list::add);
        return list;
    }
}
