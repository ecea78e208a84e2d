/**
 * The certificate that the API server knows us by, as it is in its files now. A kubelet exchanges a mounted secret by renaming a symbolic
 * link in its directory (`..data`), so directories are watched, never files. What is found is taken whole or not at all: until a pair fits
 * and is in its time, the last good one serves.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import { CastellanError } from '../errors.ts';
import { readMountedFile } from './read-file.ts';

export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
  /** Whose certificates clients have to show; undefined asks them for none. */
  readonly clientAuthority: string | undefined;
}

/** PEM, as node:tls takes it. */
export interface Credentials {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
}

export interface ServingCertificate extends Disposable {
  readonly credentials: Credentials;
  /** Whether clients can accept it now. */
  isValid(): boolean;
}

export interface CertificateOptions {
  /** Called with each pair that replaces the one before. */
  readonly replaced: (credentials: Credentials) => void;
  readonly tell: (line: string) => void;
  readonly now: () => number;
}

/** A chain of three with long names takes some 10 KiB; a bundle of authorities more. */
const MAX_PEM_BYTES = 512 * 1024;
/** Whoever copies two files by hand does it one after the other. */
const SETTLE_MS = 200;
/** Network file systems and some overlays tell no watcher; a minute is what a kubelet takes to bring a secret. */
const LOOK_MS = 60_000;

interface Loaded {
  readonly credentials: Credentials;
  readonly from: number;
  readonly to: number;
  readonly subject: string;
}

/**
 * Reads the files, and follows them until disposed.
 * @throws CastellanError `usage` where they cannot be read or do not fit; one out of its time is taken, and is not valid
 */
export async function openCertificate(
  files: CertificateFiles,
  { replaced, tell, now }: CertificateOptions,
): Promise<ServingCertificate> {
  let current = await load(files);
  if (!isInTime(current, now())) tell(`the certificate is not in its time (${timeOf(current)})`);
  let seen = digestOf(current.credentials);
  const look = async (): Promise<void> => {
    try {
      const found = await load(files);
      const digest = digestOf(found.credentials);
      if (digest === seen) return;
      seen = digest;
      if (!isInTime(found, now())) {
        tell(
          `a certificate that is not in its time (${timeOf(found)}) is left alone; the one before serves on`,
        );
        return;
      }
      current = found;
      replaced(found.credentials);
      tell(`the certificate was replaced (${timeOf(found)})`);
    } catch (error) {
      if (!(error instanceof CastellanError)) throw error;
      // Told once for each content: the files are looked at again every minute.
      if (seen === error.message) return;
      seen = error.message;
      tell(`${error.message}; the certificate before serves on`);
    }
  };
  const follower = follow([files.certificate, files.key, files.clientAuthority ?? files.key], look, tell);
  return {
    get credentials() {
      return current.credentials;
    },
    isValid: () => isInTime(current, now()),
    [Symbol.dispose]: () => follower[Symbol.dispose](),
  };
}

async function load({ certificate, key, clientAuthority }: CertificateFiles): Promise<Loaded> {
  const read = (path: string, what: string) => readMountedFile(path, what, MAX_PEM_BYTES);
  const credentials: Credentials = {
    cert: await read(certificate, 'the certificate'),
    key: await read(key, 'the key'),
    ca: clientAuthority === undefined ? undefined : await read(clientAuthority, 'the authority of clients'),
  };
  try {
    // OpenSSL's own opinion: whether the key is the certificate's, and strong enough.
    createSecureContext({ ...credentials });
    const { validFrom, validTo, subject } = new X509Certificate(credentials.cert);
    return { credentials, from: Date.parse(validFrom), to: Date.parse(validTo), subject };
  } catch (error) {
    // What OpenSSL says names the fault, never the content.
    const why = error instanceof Error ? error.message : 'unknown';
    throw new CastellanError('usage', `${certificate} and ${key} are no certificate and its key (${why})`, {
      step: 'webhook',
      object: certificate,
      remedy: 'give a certificate chain and its key as PEM, unencrypted',
      cause: error,
    });
  }
}

function isInTime({ from, to }: Loaded, now: number): boolean {
  return from <= now && now < to;
}

function timeOf({ from, to }: Loaded): string {
  return `${new Date(from).toISOString()} to ${new Date(to).toISOString()}`;
}

function digestOf({ cert, key, ca }: Credentials): string {
  return createHash('sha256')
    .update(JSON.stringify([cert, key, ca]))
    .digest('hex');
}

/** Calls `look` soon after anything changed in a directory of the paths, and now and then; one call at a time. */
function follow(
  paths: readonly string[],
  look: () => Promise<void>,
  tell: (line: string) => void,
): Disposable {
  const ended = new AbortController();
  let looking: Promise<void> = Promise.resolve();
  let settling: NodeJS.Timeout | undefined;
  const lookSoon = () => {
    settling ??= setTimeout(() => {
      settling = undefined;
      looking = looking.then(() => (ended.signal.aborted ? undefined : look()));
    }, SETTLE_MS).unref();
  };
  const every = setInterval(lookSoon, LOOK_MS).unref();
  const watchers = [...new Set(paths.map((path) => dirname(path)))].flatMap((directory): FSWatcher[] => {
    try {
      const watcher = watch(directory, { persistent: false }, lookSoon);
      watcher.on('error', ({ message }) => tell(`${directory} is not watched any more (${message})`));
      return [watcher];
    } catch (error) {
      // Its files are still looked at every minute.
      tell(`${directory} cannot be watched (${error instanceof Error ? error.message : ''})`);
      return [];
    }
  });
  return {
    [Symbol.dispose]() {
      ended.abort();
      clearInterval(every);
      clearTimeout(settling);
      for (const watcher of watchers) watcher.close();
    },
  };
}
