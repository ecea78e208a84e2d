/** Images as a supervisor meets them that is put into what others made: each a directory, and the way it is entered. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const BUSYBOX = '/bin/busybox';
const ALPINE_APPLETS = ['sh', 'cat', 'id', 'ls', 'touch', 'wget', 'nc', 'sleep', 'true'];
/** What an ordinary program prints where its libraries are those of the image. */
export const MUSL_WORD = 'linked with musl';

/** Printed by whatever of a hostile image gets loaded. */
export const EVIL_WORD = 'loaded from the image';
/** In C; a library. */
export const EVIL = `#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { write(2, "${EVIL_WORD}\\n", ${EVIL_WORD.length + 1}); }
`;
/** Where the loader and the C library of a system would look last, for what a bundle has itself and for what none has. */
export const EVIL_PLACES = (triplet: string): readonly string[] =>
  ['lib', 'usr/lib', `lib/${triplet}`, `usr/lib/${triplet}`].flatMap((directory) =>
    ['libnss_evil.so.2', 'libdl.so.2', 'libnss_dns.so.2', 'engine.so'].map((name) => join(directory, name)),
  );
const OPENSSL_CONFIGURATION = `nodejs_conf = init
openssl_conf = init
[init]
engines = engines
[engines]
evil = evil
[evil]
dynamic_path = /lib/engine.so
init = 1
`;

export interface Image {
  readonly name: string;
  /** Fills an empty directory. */
  readonly make: (root: string) => void;
  /** The agent's program for HTTP, and what it is called with before the URL. */
  readonly client: readonly [string, ...string[]];
  /** How its shell is started; undefined where there is none. */
  readonly shell?: readonly [string, ...string[]];
  /** More for bwrap, after the root. */
  readonly enter?: readonly string[];
}

const busyboxClient = [BUSYBOX, 'wget', '-q', '-O', '-'] as const;
const busyboxShell = [BUSYBOX, 'sh', '-c'] as const;

function put(root: string, source: string, target = source): void {
  mkdirSync(dirname(join(root, target)), { recursive: true });
  copyFileSync(source, join(root, target));
}

function write(root: string, path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** A program with the libraries that it names. */
function putLinked(root: string, program: string): void {
  put(root, program);
  for (const [, path = ''] of execFileSync('ldd', [program], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g))
    put(root, path);
}

export const IMAGES: readonly Image[] = [
  {
    name: 'an empty root: one static program',
    make: (root) => put(root, BUSYBOX),
    client: busyboxClient,
  },
  {
    name: 'a musl root, laid out as Alpine’s',
    make(root) {
      put(root, BUSYBOX);
      for (const applet of ALPINE_APPLETS) symlinkSync('busybox', join(root, 'bin', applet));
      write(root, '/etc/alpine-release', '3.22.0\n');
      write(
        root,
        '/etc/passwd',
        'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n',
      );
      write(root, '/etc/group', 'root:x:0:root\nnobody:x:65534:\n');
      write(root, '/tmp/hello.c', `#include <stdio.h>\nint main(void) { puts("${MUSL_WORD}"); }\n`);
      execFileSync('musl-gcc', ['-o', join(root, 'bin/hello'), join(root, 'tmp/hello.c')]);
      put(root, '/lib/x86_64-linux-musl/libc.so', '/lib/ld-musl-x86_64.so.1');
    },
    client: ['/bin/wget', '-q', '-O', '-'],
    shell: ['/bin/sh', '-c'],
  },
  {
    name: 'a root without a shell, as distroless images are',
    make(root) {
      putLinked(root, '/usr/bin/curl');
      write(root, '/etc/passwd', 'root:x:0:0::/:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n');
    },
    client: ['/usr/bin/curl', '-sS', '--fail', '--proxy-header', 'X-Agent: 1'],
  },
  {
    name: 'a Debian root without network tools',
    make(root) {
      for (const directory of ['bin', 'lib', 'lib64', 'sbin'])
        symlinkSync(`usr/${directory}`, join(root, directory));
      mkdirSync(join(root, 'usr'));
      cpSync('/etc/passwd', join(root, 'etc/passwd'));
    },
    client: ['/usr/bin/curl', '-sS', '--fail'],
    shell: ['/bin/bash', '-c'],
    enter: [
      ...['--ro-bind', '/usr', '/usr'],
      ...['ip', 'nft'].flatMap((tool) => ['--ro-bind', '/dev/null', realpathSync(`/usr/sbin/${tool}`)]),
    ],
  },
  {
    name: 'hostile: its own loader settings, modules and OpenSSL configuration',
    make(root) {
      put(root, BUSYBOX);
      const library = join(root, 'lib/evil.so');
      write(root, '/evil.c', EVIL);
      mkdirSync(join(root, 'lib'), { recursive: true });
      execFileSync('gcc', ['-shared', '-fPIC', '-o', library, join(root, 'evil.c')]);
      for (const place of EVIL_PLACES('x86_64-linux-gnu')) put(root, library, place);
      write(root, '/etc/ld.so.preload', '/lib/evil.so\n');
      write(root, '/etc/nsswitch.conf', 'hosts: evil files dns\npasswd: evil files\n');
      for (const path of ['/etc/ssl/openssl.cnf', '/usr/lib/ssl/openssl.cnf', '/usr/local/ssl/openssl.cnf'])
        write(root, path, OPENSSL_CONFIGURATION);
      for (const path of ['/package.json', '/opt/package.json']) write(root, path, 'broken');
      for (const name of ['cpu-features', 'bufferutil', 'utf-8-validate'])
        for (const directory of ['', '/opt'])
          write(root, `${directory}/node_modules/${name}/index.js`, `console.error('${EVIL_WORD}')`);
    },
    client: busyboxClient,
    shell: busyboxShell,
    enter: Object.entries({
      LD_PRELOAD: '/lib/evil.so',
      LD_AUDIT: '/lib/evil.so',
      LD_LIBRARY_PATH: '/lib',
      NODE_OPTIONS: '--require=/opt/node_modules/bufferutil',
      OPENSSL_CONF: '/etc/ssl/openssl.cnf',
      GCONV_PATH: '/lib',
    }).flatMap(([name, value]) => ['--setenv', name, value]),
  },
];
