/** An agent's image, made of this machine's files: busybox, curl, python3, and programs with the set-user-id bit. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { BUSYBOX } from '../bundle/images.ts';

export const AGENT_IMAGE = 'localhost/agent:test';
export const CURL = '/usr/bin/curl';
export const PYTHON = realpathSync('/usr/bin/python3');
/** root's, and with its bit. */
export const SETUID_BUSYBOX = '/bin/busybox-setuid';
/** What the image says about castellan, which nobody is to hear. */
export const HOSTILE_VARIABLES = [
  'OPENSHELL_SANDBOX_UID=0',
  'SANDBOX_UID=0',
  'CASTELLAN_MAIN_PROCESS_SPEC=evil',
  'NODE_OPTIONS=--evil',
  'LD_PRELOAD=/evil.so',
  'XDG_RUNTIME_DIR=/evil',
];
/** Big, and for nobody here. */
const LEFT_OUT = /\/(test|tests|idlelib|lib2to3|ensurepip|pydoc_data|__pycache__|config-\S+)$/;

/** Fills `root`, an empty directory; `authorities` is what programs in it verify servers by. */
export function makeAgentRoot(root: string, authorities: string): void {
  const put = (source: string, target = source): void => {
    mkdirSync(dirname(join(root, target)), { recursive: true });
    copyFileSync(source, join(root, target));
  };
  const standard = join('/usr/lib', basename(PYTHON));
  cpSync(standard, join(root, standard), {
    recursive: true,
    dereference: true,
    filter: (path) => !LEFT_OUT.test(path) && !path.includes('sitecustomize'),
  });
  put(BUSYBOX);
  put(BUSYBOX, '/bin/sh');
  put(BUSYBOX, SETUID_BUSYBOX);
  chmodSync(join(root, SETUID_BUSYBOX), 0o4755);
  put(CURL);
  put(PYTHON);
  const modules = readdirSync(join(root, standard, 'lib-dynload')).map((name) =>
    join(standard, 'lib-dynload', name),
  );
  for (const library of librariesOf([CURL, PYTHON, ...modules])) put(library);
  put(authorities, '/etc/ssl/certs/ca-certificates.crt');
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
  for (const place of ['tmp', 'run', 'var/log', 'sandbox', 'proc', 'dev', 'sys'])
    mkdirSync(join(root, place), { recursive: true, mode: 0o755 });
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'sandbox/seeded'), 'of the image\n');
}

function librariesOf(programs: readonly string[]): Set<string> {
  const told = execFileSync('ldd', programs, { encoding: 'utf8' });
  return new Set([...told.matchAll(/(?:=> |^\s)(\/\S+) \(0x/gm)].map(([, path = '']) => path));
}
