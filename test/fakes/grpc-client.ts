/** A gRPC client as agents have it: `grpc-client.ts TARGET CA-FILE METHOD KIND`, with the proxy in the environment. Prints one line of JSON. */
import { readFileSync } from 'node:fs';
import { Client, credentials, type ServiceError, type StatusObject } from '@grpc/grpc-js';

const [target = '', authority = '', method = '', kind = ''] = process.argv.slice(2);
const same = (bytes: Buffer): Buffer => bytes;
const client = new Client(target, credentials.createSsl(readFileSync(authority)));
const received: string[] = [];
const DEADLINE_MS = 15_000;
const options = { deadline: Date.now() + DEADLINE_MS };

function print(code: number, details: string, trailer: unknown): void {
  process.stdout.write(`${JSON.stringify({ code, details, received, trailer })}\n`);
  client.close();
}

if (kind === 'unary') {
  client.makeUnaryRequest(
    method,
    same,
    same,
    Buffer.from('ping'),
    options,
    (error: ServiceError | null, value) => {
      if (value !== undefined) received.push(value.toString());
      print(error?.code ?? 0, error?.details ?? '', error?.metadata.get('x-sum'));
    },
  );
} else {
  const call = client.makeBidiStreamRequest(method, same, same, options);
  // Speaks only when it has heard: a relay that waits for either side to finish stands still here.
  call.on('data', (chunk: Buffer) => {
    received.push(chunk.toString());
    if (received.length < 3) call.write(Buffer.from(`turn ${received.length}`));
    else call.end();
  });
  call.on('error', () => {});
  call.on('status', ({ code, details, metadata }: StatusObject) =>
    print(code, details, metadata.get('x-sum')),
  );
  call.write(Buffer.from('turn 0'));
}
