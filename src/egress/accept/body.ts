import type { IncomingMessage } from 'node:http';

/** The whole body; undefined when it is larger than `maxBytes`, is not there within `ms`, or its client is gone. Never rejects. */
export function readWhole(
  request: IncomingMessage,
  maxBytes: number,
  ms: number,
): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => finish(undefined), ms);
  const finish = (body: Buffer | undefined): void => {
    clearTimeout(timer);
    request.off('data', onData).off('end', onEnd).off('close', onClose);
    if (body === undefined) request.pause();
    resolve(body);
  };
  const onData = (chunk: Buffer): void => {
    length += chunk.length;
    if (length > maxBytes) finish(undefined);
    else chunks.push(chunk);
  };
  const onEnd = (): void => finish(Buffer.concat(chunks, length));
  const onClose = (): void => finish(undefined);
  request.on('data', onData).on('end', onEnd).on('close', onClose);
  return promise;
}
