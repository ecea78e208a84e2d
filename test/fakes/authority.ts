/** A certificate authority of a test's own, made by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Disposable {
  /** PEM, and the file that holds it. */
  readonly ca: string;
  readonly path: string;
  readonly directory: string;
  /** A certificate of it that is good for a day, as server or client, for DNS names and IP addresses. */
  issue(...names: readonly string[]): Pair;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export function makeAuthority(name: string): Authority {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-authority-'));
  const read = (file: string) => readFileSync(join(directory, file), 'utf8');
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const root = ['-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', `/CN=${name}`];
  openssl('req', '-x509', ...NEW_KEY, ...root);
  return {
    ca: read('ca.crt'),
    path: join(directory, 'ca.crt'),
    directory,
    issue(...names) {
      const alternatives = names.map((one) => `${/^[\d.]+$|:/.test(one) ? 'IP' : 'DNS'}:${one}`);
      writeFileSync(join(directory, 'extensions'), `subjectAltName=${alternatives.join(',')}`);
      openssl('req', ...NEW_KEY, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', `/CN=${names[0]}`);
      const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'extensions'];
      openssl('x509', '-req', '-in', 'leaf.csr', ...signed, '-days', '1', '-out', 'leaf.crt');
      return { cert: read('leaf.crt'), key: read('leaf.key') };
    },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
