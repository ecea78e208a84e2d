/**
 * ld.so(8) without a way to what an image brings: the file that names libraries to preload, which no option turns off, and the
 * directories that it searches last; and programs that nothing but this loader can start. Each path is written over by one of the same
 * length at which nothing can be.
 */
import { readElf } from './elf.ts';

const PRELOAD = '/etc/ld.so.preload';
/** As glibc of Debian has them, one after the other with a NUL behind each; the name of the machine is between. */
const DIRECTORIES = /\/lib\/([a-z0-9_]+-linux-gnu)\/\0\/usr\/lib\/\1\/\0\/lib\/\0\/usr\/lib\/\0/g;
/** Below what is no directory there is nothing. */
const NOWHERE = '/dev/null/';
/** For paths that are shorter: the container's engine makes this one, and images cannot fill it. */
const DEVICES = '/dev/';

/** @throws Error where the loader is built in another way than this knows */
export function sealLoader(loader: Buffer): Buffer {
  const text = loader.toString('latin1');
  const directories = [...text.matchAll(DIRECTORIES)];
  if (directories.length === 0 || !text.includes(`${PRELOAD}\0`))
    throw new Error('the loader has its search paths in another form');
  const sealed = text
    .replaceAll(`${PRELOAD}\0`, `${nowhere(PRELOAD.length)}\0`)
    .replaceAll(DIRECTORIES, (all) => all.replaceAll(/[^\0]+/g, (path) => nowhere(path.length)));
  return Buffer.from(sealed, 'latin1');
}

/** A program or library of ELF without the image's loader, by which the kernel would start it with the image's libraries. */
export function sealInterpreter(file: Buffer): Buffer {
  const { interpreter } = readElf(file);
  const sealed = Buffer.from(file);
  if (interpreter !== undefined) sealed.write(nowhere(interpreter.path.length), interpreter.offset, 'latin1');
  return sealed;
}

function nowhere(length: number): string {
  return (length < NOWHERE.length ? DEVICES : NOWHERE).padEnd(length, '/');
}
