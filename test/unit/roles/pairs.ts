/** Both ends of a wire, and bytes on it that no channel would write. */
import { Socket } from 'node:net';
import { afterEach } from 'vitest';
import { posix } from '../../../src/kernel/posix.ts';

/** Makes pairs of sockets that are gone after each test. */
export function usePairs(): () => [Socket, Socket] {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  return () => {
    const [ours, theirs] = posix()
      .socketPair()
      .map((fd) => new Socket({ fd, readable: true, writable: true }));
    if (ours === undefined || theirs === undefined) throw new Error('no sockets');
    theirs.on('error', () => {});
    sockets.push(ours, theirs);
    return [ours, theirs];
  };
}

/** A text is the frame's as it stands. */
export function frame(message: unknown): Buffer {
  const text = Buffer.from(typeof message === 'string' ? message : JSON.stringify(message));
  return Buffer.concat([lengthOf(text.length), text]);
}

export function lengthOf(bytes: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes);
  return length;
}
