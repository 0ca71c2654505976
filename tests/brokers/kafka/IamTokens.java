import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Takes tokens as MSK's brokers do: each is a request for kafka-cluster:Connect in base64, signed by Signature Version 4 in its query
 * string. One key of AWS is known, that of the options id and secret; whoever has it is the superuser "rig".
 */
public final class IamTokens implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private String id;
    private String secret;

    @Override
    public void configure(Map<String, ?> configuration, String mechanism, List<AppConfigurationEntry> entries) {
        Map<String, ?> options = entries.get(0).getOptions();
        id = (String) options.get("id");
        secret = (String) options.get("secret");
    }

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerExtensionsValidatorCallback extensions) {
                extensions.inputExtensions().map().keySet().forEach(extensions::valid);
            } else if (callback instanceof OAuthBearerValidatorCallback token) {
                judge(token);
            } else {
                throw new UnsupportedCallbackException(callback);
            }
        }
    }

    private void judge(OAuthBearerValidatorCallback callback) {
        try {
            long end = end(callback.tokenValue());
            callback.token(new Token(callback.tokenValue(), end));
        } catch (Exception error) {
            callback.error("invalid_token: " + error.getMessage(), null, null);
        }
    }

    /** When the token ends, in milliseconds; throws where it is not good. */
    private long end(String token) throws Exception {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        TreeMap<String, String> query = new TreeMap<>();
        for (String pair : url.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(URLDecoder.decode(parts[0], StandardCharsets.UTF_8), URLDecoder.decode(parts[1], StandardCharsets.UTF_8));
        }
        String given = query.remove("X-Amz-Signature");
        query.remove("User-Agent"); // says who asks, and is not signed
        String[] scope = query.get("X-Amz-Credential").split("/");
        demand(scope.length == 5 && scope[0].equals(id), "the key is not known");
        demand(scope[3].equals("kafka-cluster") && scope[4].equals("aws4_request"), "signed for something else");
        demand(url.getScheme().equals("https") && url.getHost().equals("kafka." + scope[2] + ".amazonaws.com"), "another host");
        demand(url.getPath().equals("/") && "kafka-cluster:Connect".equals(query.get("Action")), "another action");
        demand("AWS4-HMAC-SHA256".equals(query.get("X-Amz-Algorithm")), "another algorithm");
        demand("host".equals(query.get("X-Amz-SignedHeaders")), "other headers are signed");
        String time = query.get("X-Amz-Date");
        long seconds = Long.parseLong(query.get("X-Amz-Expires"));
        Instant begin = Instant.from(TIME.parse(time));
        Instant now = Instant.now();
        demand(seconds > 0 && seconds <= 900 && time.startsWith(scope[1]), "good for too long");
        demand(!begin.isAfter(now.plusSeconds(60)) && begin.plusSeconds(seconds).isAfter(now), "it has ended");

        StringBuilder canonical = new StringBuilder("GET\n/\n");
        String joint = "";
        for (Map.Entry<String, String> pair : query.entrySet()) {
            canonical.append(joint).append(encoded(pair.getKey())).append('=').append(encoded(pair.getValue()));
            joint = "&";
        }
        canonical.append("\nhost:").append(url.getHost()).append("\n\nhost\n").append(sha256(""));
        String name = String.join("/", scope[1], scope[2], scope[3], scope[4]);
        String text = "AWS4-HMAC-SHA256\n" + time + "\n" + name + "\n" + sha256(canonical.toString());
        byte[] key = ("AWS4" + secret).getBytes(StandardCharsets.UTF_8);
        for (String part : List.of(scope[1], scope[2], scope[3], scope[4], text)) {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            key = mac.doFinal(part.getBytes(StandardCharsets.UTF_8));
        }
        demand(HexFormat.of().formatHex(key).equals(given), "the signature is wrong");
        return begin.plusSeconds(seconds).toEpochMilli();
    }

    private static void demand(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private static String sha256(String text) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
    }

    private record Token(String value, long lifetimeMs) implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public String principalName() {
            return "rig";
        }

        @Override
        public Long startTimeMs() {
            return null;
        }
    }
}
