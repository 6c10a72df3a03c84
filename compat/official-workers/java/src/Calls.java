import java.util.Optional;

import com.microsoft.azure.functions.ExecutionContext;
import com.microsoft.azure.functions.HttpMethod;
import com.microsoft.azure.functions.HttpRequestMessage;
import com.microsoft.azure.functions.HttpResponseMessage;
import com.microsoft.azure.functions.HttpStatus;
import com.microsoft.azure.functions.annotation.BindingName;
import com.microsoft.azure.functions.annotation.FunctionName;
import com.microsoft.azure.functions.annotation.HttpTrigger;

/** HTTP functions, one for each kind of value that the worker converts. */
public class Calls {
  /** A JSON body. */
  public static class Order {
    public String item;
    public int count;
  }

  @FunctionName("text")
  public String text(@HttpTrigger(name = "request") HttpRequestMessage<Optional<String>> request) {
    return request.getHttpMethod() + " " + request.getQueryParameters().getOrDefault("name", "?") + " " + request.getBody().orElse("");
  }

  @FunctionName("order")
  public HttpResponseMessage order(@HttpTrigger(name = "request") HttpRequestMessage<Optional<Order>> request) {
    Order order = request.getBody().get();
    order.count += 1;
    return request.createResponseBuilder(HttpStatus.CREATED).header("x-item", order.item).body(order).build();
  }

  @FunctionName("route")
  public String route(@HttpTrigger(name = "request") HttpRequestMessage<Optional<String>> request, @BindingName("id") String id) {
    return "id " + id;
  }

  @FunctionName("failure")
  public String failure(@HttpTrigger(name = "request") HttpRequestMessage<Optional<String>> request, ExecutionContext context) {
    context.getLogger().warning("before the failure of " + context.getFunctionName());
    throw new IllegalStateException("deliberate");
  }

  @FunctionName("bytes")
  public HttpResponseMessage bytes(@HttpTrigger(name = "request", dataType = "binary") HttpRequestMessage<Optional<byte[]>> request) {
    byte[] body = request.getBody().get();
    return request.createResponseBuilder(HttpStatus.OK).header("content-type", "application/octet-stream").body(body).build();
  }
}
