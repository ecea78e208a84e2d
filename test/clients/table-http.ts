/** Clients of HTTP, and what HTTP can do besides a question and an answer. Packages: scripts/setup.mjs, goal test:clients. */
import { join } from 'node:path';
import { type Client, NODE } from './client.ts';
import { RAW } from './places.ts';

const GRPC_CLIENT = join(import.meta.dirname, '../fakes/grpc-client.ts');

/** Node trusts the authorities it brings, and castellan's by NODE_EXTRA_CA_CERTS; the test's own origin takes the whole bundle. */
const NODE_TRUST = 'export NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE';

export const HTTP_CLIENTS: readonly Client[] = [
  {
    name: 'curl',
    core: true,
    ways: ['proxy', 'direct', 'bare'],
    script: 'curl -sS $URL/echo',
    prints: /^GET \/echo HTTP\/2.0 0 bytes$/m,
    refused: 'curl -sS $REFUSED',
    says: {
      request: /"error":"policy_denied","reason":"request_refused"/,
      tunnel: /CONNECT tunnel failed, response 403/,
      name: /Could not resolve host: forbidden/,
    },
  },
  {
    name: 'curl in HTTP/1.1',
    script: 'curl -sS --http1.1 -d abc $URL/echo',
    prints: /^POST \/echo HTTP\/1.1 3 bytes$/m,
    refused: 'curl -sS --http1.1 -d abc $REFUSED',
    says: { request: /"error":"policy_denied"/, tunnel: /response 403/, name: /Could not resolve host/ },
  },
  {
    name: 'wget (GnuTLS)',
    ways: ['proxy', 'direct', 'bare'],
    script: 'wget -nv -O - $URL/echo',
    prints: /^GET \/echo HTTP\/1.1 0 bytes$/m,
    refused: 'wget -nv --tries=1 -O - $REFUSED',
    says: {
      request: /ERROR 403: Forbidden/,
      tunnel: /Proxy tunneling failed: Forbidden/,
      name: /unable to resolve host address/,
    },
  },
  {
    name: 'Python, urllib',
    core: true,
    script: `python3 -c 'import os, urllib.request as u; print(u.urlopen(os.environ["URL"] + "/echo").read().decode(), end="")'`,
    prints: /^GET \/echo HTTP\/1.1 0 bytes$/m,
    refused: `python3 -c 'import os, urllib.request as u; u.urlopen(os.environ["REFUSED"])'`,
    says: {
      request: /HTTP Error 403: Forbidden/,
      tunnel: /Tunnel connection failed: 403 Forbidden/,
      name: /gaierror/,
    },
  },
  {
    name: 'Python, requests',
    script: `python3 -c 'import os, requests; s = requests.Session(); print([s.get(os.environ["URL"] + "/client-port").text for _ in "ab"]); print(s.get(os.environ["URL"] + "/gzip").text)'`,
    prints: /^\['(\d+)\\n', '\1\\n'\]\nunpacked$/m,
    refused: `python3 -c 'import os, requests; r = requests.get(os.environ["REFUSED"]); print(r.json()["error"]); r.raise_for_status()'`,
    says: {
      request: /403 Client Error: Forbidden[\s\S]*policy_denied/,
      tunnel: /403 Forbidden/,
      name: /Failed to establish/,
    },
  },
  {
    name: 'Python, aiohttp',
    script: `cat > t.py <<'X'
import aiohttp, asyncio, os, sys
async def main(url):
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as answer:
        print(answer.status, (await answer.text()).strip())
asyncio.run(main(sys.argv[1]))
X
python3 t.py $URL/echo`,
    prints: /^200 GET \/echo HTTP\/1.1 0 bytes$/m,
    refused: 'python3 t.py $REFUSED',
    says: {
      request: /^403 .*policy_denied/m,
      tunnel: /ClientHttpProxyError: 403/,
      name: /Cannot connect to host/,
    },
  },
  {
    name: 'Node, fetch',
    core: true,
    script: `${NODE_TRUST}; echo 'fetch(process.argv[2]).then(async (r) => console.log(r.status, await r.text()), (e) => console.log(e.cause))' > t.js; ${NODE} t.js $URL/echo`,
    prints: /^200 GET \/echo HTTP\/1.1 0 bytes$/m,
    refused: `${NODE} t.js $REFUSED`,
    says: { request: /^403 .*policy_denied/m, tunnel: /403/, name: /ENOTFOUND|EAI_AGAIN/ },
  },
  {
    name: 'Node, undici in HTTP/2',
    script: `${NODE_TRUST}; cat > t.mjs <<'X'
import { createRequire } from 'node:module';
const { EnvHttpProxyAgent, request } = createRequire('${import.meta.filename}')('undici');
const dispatcher = new EnvHttpProxyAgent({ allowH2: true });
const { statusCode, body } = await request(process.argv[2], { dispatcher });
console.log(statusCode, await body.text());
await dispatcher.close();
X
${NODE} t.mjs $URL/echo`,
    prints: /^200 GET \/echo HTTP\/2.0 0 bytes$/m,
    refused: `${NODE} t.mjs $REFUSED`,
    says: { request: /^403 .*policy_denied/m, tunnel: /403/, name: /ENOTFOUND|EAI_AGAIN/ },
  },
  {
    name: 'gRPC, streams both ways',
    script: `${NODE} ${GRPC_CLIENT} $HOST:50051 $SSL_CERT_FILE /demo.Echo/Talk talk`,
    prints: /^{"code":0,"details":"OK","received":\["heard turn 0","heard turn 1","heard turn 2"\]/m,
    refused: `${NODE} ${GRPC_CLIENT} $REFUSED_HOST:50051 $SSL_CERT_FILE /forbidden/Talk talk`,
    says: {
      request: /"code":7,"details":"[^"]*forbidden/,
      tunnel: /"code":14/,
      name: /"code":14,"details":"Name resolution failed/,
    },
  },
  {
    name: 'Java, HttpClient',
    script: `cat > T.java <<'X'
import java.net.*; import java.net.http.*;
public class T { public static void main(String[] a) throws Exception {
  var proxy = System.getenv("HTTPS_PROXY");
  var client = HttpClient.newBuilder();
  if (proxy != null) client.proxy(ProxySelector.of(new InetSocketAddress(URI.create(proxy).getHost(), URI.create(proxy).getPort())));
  var answer = client.build().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString());
  System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
} }
X
javac T.java && java -Xmx128m -cp . T $URL/echo 2>&1`,
    ways: ['proxy', 'direct', 'bare'],
    prints: /^200 HTTP_2 GET \/echo HTTP\/2.0 0 bytes$/m,
    refused: 'java -Xmx128m -cp . T $REFUSED',
    says: {
      request: /^403 HTTP_2 .*policy_denied/m,
      tunnel: /403/,
      name: /UnresolvedAddress|ConnectException/,
    },
  },
  {
    name: 'Chromium, a page that fetches, from a server that offers QUIC',
    // By the second time it knows of the QUIC, tries it, and has to be back at once.
    // The test's own authority is none of Chromium's, and of the agent's bundles it reads none.
    script: `cat > browse <<'X'
chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=$PWD/profile --timeout=20000 --dump-dom "$@" 2>>chromium.log
X
case $HOST in closed*) known=--ignore-certificate-errors;; esac
sh browse $known $URL/page >first || cat chromium.log >&2
SECONDS=0; sh browse $known $URL/page; ((SECONDS < 10)) && echo at once`,
    prints: /<p id="x">page GET \/echo HTTP\/2.0 0 bytes[\s\S]*^at once$/m,
    refused: 'sh browse $REFUSED',
    // Its own page about a failed connection is not printed.
    says: { request: /policy_denied/, tunnel: /^$/, name: /^$/ },
  },
  {
    name: 'WebSocket, Node',
    script: `${NODE_TRUST}; cat > t.js <<'X'
const socket = new WebSocket(process.argv[2].replace('https', 'wss'));
socket.onopen = () => socket.send('hi');
socket.onmessage = ({ data }) => { console.log(data); socket.close(); };
socket.onerror = ({ error, message }) => console.log('failed', message, error?.cause?.message ?? '');
X
${NODE} t.js $URL/ws`,
    prints: /^heard hi$/m,
    refused: `${NODE} t.js $REFUSED`,
    says: { request: /failed/, tunnel: /failed/, name: /failed/ },
  },
  {
    name: 'WebSocket, Python',
    ways: ['direct'],
    script: `cat > t.py <<'X'
import asyncio, sys, websockets
async def main(url):
    async with websockets.connect(url.replace("https", "wss")) as socket:
        await socket.send("hi")
        print(await socket.recv())
        await socket.send(b"\\x00" * 100000)
        print(len(await socket.recv()))
asyncio.run(main(sys.argv[1]))
X
python3 t.py $URL/ws`,
    prints: /^heard hi\n100000$/m,
    refused: 'python3 t.py $REFUSED',
    says: { request: /rejected WebSocket connection: HTTP 403/, name: /gaierror/ },
  },
  {
    name: 'openssl s_client',
    ways: ['direct'],
    script:
      'openssl s_client -connect $HOST:443 -servername $HOST -verify_return_error -brief </dev/null 2>&1',
    prints: /Verification: OK/,
    refused:
      "printf 'GET /forbidden/x HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n' $REFUSED_HOST | openssl s_client -connect $REFUSED_HOST:443 -servername $REFUSED_HOST -quiet -no_ign_eof -ign_eof",
    says: { request: /HTTP\/1.1 403 Forbidden/, name: /BIO_lookup_ex|getaddrinfo|name/i },
  },
];

/** With curl, which shows what arrives; for both ways and both treatments of TLS. */
export const HTTP_FEATURES: readonly Client[] = [
  {
    name: 'upload of 50 MiB',
    script:
      'head -c 52428800 /dev/urandom > up; sha256sum < up | cut -d" " -f1; curl -sS -T up $URL/digest; curl -sS --http1.1 -T up $URL/digest; curl -sS --http1.1 -H "Transfer-Encoding: chunked" -T up $URL/digest',
    prints: /^([0-9a-f]{64})\n\1\n\1\n\1$/m,
  },
  {
    name: 'download of 100 MiB, in one piece and by ranges',
    script: `curl -sS $FILES/big.sum; curl -sS $FILES/big.bin | sha256sum; curl -sS --http1.1 $FILES/big.bin | sha256sum
curl -sS -r 0-49999999 -o a $FILES/big.bin && curl -sS -C - -o a -w '%{http_code}\\n' $FILES/big.bin && sha256sum < a`,
    prints: /^([0-9a-f]{64} {2}-)\n\1\n\1\n206\n\1$/m,
  },
  {
    name: 'Expect: 100-continue',
    script:
      'head -c 2000000 /dev/zero > up; curl -sS -v --http1.1 --expect100-timeout 60 -H "Expect: 100-continue" -T up $URL/echo 2>&1',
    prints: /HTTP\/1.1 100 Continue[\s\S]*PUT \/echo HTTP\/1.1 2000000 bytes/,
  },
  {
    name: 'compression, pieces, trailers, a redirect',
    script:
      'curl -sS --compressed $URL/gzip; curl -sS --http1.1 --raw $URL/pieces; curl -sS --http1.1 --raw $URL/trailers; curl -sSv $URL/trailers 2>&1; curl -sSL $URL/redirect',
    prints:
      /^unpacked\n4\r\none \r\n[\s\S]*three\n\r\n0\r\n[\s\S]*\nx-sum: 42\r\n[\s\S]*< x-sum: 42\r?\n[\s\S]*GET \/echo HTTP\/2.0 0 bytes$/im,
  },
  {
    name: 'a redirect to a host that is not allowed',
    script: 'curl -sSL $URL/redirect-out 2>&1',
    prints: /CONNECT tunnel failed, response 403|Could not resolve host/,
  },
  {
    name: 'events, each of which waits for the one before to have arrived',
    script:
      'key=$RANDOM$RANDOM; curl -sSN "$URL/events?$key" | while read -r line; do [ -n "$line" ] || continue; echo "$line"; curl -sS "$URL/arrived?$key" >/dev/null; done',
    prints: /^data: event 1\ndata: event 2\ndata: event 3$/m,
  },
  {
    name: 'in the clear',
    script: 'curl -sS http://$HOST/echo; wget -qO - http://$HOST/pieces',
    prints: /^GET \/echo HTTP\/1.1 0 bytes\none two three$/m,
    refused: 'curl -sS http://$REFUSED_HOST/forbidden/echo',
    says: { request: /"policy_denied"/, tunnel: /"policy_denied"/, name: /Could not resolve host/ },
  },
  {
    name: 'a name that some program may ask for, and a port that none may',
    ways: ['direct'],
    tls: ['closed'],
    script: `cat > t.js <<'X'
fetch('https://${RAW}/').catch((error) => console.log(error.cause.message));
X
(curl -sS https://${RAW}/; wget --tries=1 -nv https://${RAW}/; python3 -c 'import urllib.request as u; u.urlopen("https://${RAW}/")'; ${NODE} t.js) 2>&1`,
    prints:
      /^curl: .*alert access denied\n[\s\S]*Access was denied[\s\S]*ACCESS_DENIED[\s\S]*alert access denied/m,
  },
  {
    name: 'many requests over one connection',
    script: 'curl -sS --http1.1 $URL/client-port $URL/client-port $URL/client-port | sort -u | wc -l',
    prints: /^1$/m,
  },
  {
    name: 'fifty at once',
    script:
      'for i in $(seq 50); do curl -sS $URL/echo?$i & done | sort -u | wc -l; seq 100 | sed "s|.*|url=$URL/echo?&|" > list; curl -sS --parallel --parallel-max 50 -K list | wc -l; wait',
    prints: /^50\n100$/m,
  },
];
