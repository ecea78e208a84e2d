/** What the file server of this suite offers: made by the tools that people make it with, below `files/` and `git/`. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chownSync, linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CALLER_UID } from '../fakes/world.ts';
import { BIG_BYTES, CLOSED, NPM_PACKAGES, OPENED, PORTS } from './places.ts';

type Make = (path: string, content: string | Buffer) => void;

export async function makeMaterials(directory: string): Promise<void> {
  const files = join(directory, 'files');
  const write: Make = (path, content) => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  };
  mkdirSync(files);
  sh(files, `head -c ${BIG_BYTES} /dev/urandom > big.bin; sha256sum < big.bin > big.sum`);
  // Names come from the world's name server, and to its agents from castellan's.
  write(join(directory, 'hosts'), '127.0.0.1 localhost\n');
  makeGit(directory);
  makeNpm(directory, write);
  makeWheel(join(files, 'pypi/simple/castpip'), write);
  makeDebian(join(files, 'deb'), write);
  makeGo(join(files, 'go/demo.test/castgo/@v'), write);
  makeCargo(directory, write);
  sh(directory, `chown -R ${CALLER_UID}:${CALLER_UID} git`);
  sh(directory, "ssh-keygen -q -t ed25519 -N '' -f ssh_host_key");
  const server = join(directory, 'apache');
  mkdirSync(server);
  chownSync(server, CALLER_UID, CALLER_UID);
}

function sh(cwd: string, script: string): string {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: cwd, GIT_CONFIG_NOSYSTEM: '1', LANG: 'C.UTF-8' };
  return execFileSync('/bin/sh', ['-euc', script], {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** One that may only be read (the policy says so), one that may be pushed to; some MiB that do not compress. */
function makeGit(directory: string): void {
  sh(
    directory,
    `mkdir git && git init -q -b main w && cd w && git config user.name t && git config user.email t@demo.test
    echo 'from git' > README && head -c 3000000 /dev/urandom > data && git add . && git commit -qm first && cd ..
    for name in readonly pushable; do git clone -q --bare w git/$name.git && git -C git/$name.git config http.receivepack true; done; rm -r w`,
  );
}

/** Packages that depend on each other in rows of ten, one of them in a scope, packed by npm itself. */
function makeNpm(directory: string, write: Make): void {
  const sources = join(directory, 'npm-sources');
  const nameOf = (index: number) => (index === 0 ? '@demo/pkg-0' : `pkg-${index}`);
  const names = Array.from({ length: NPM_PACKAGES }, (_, index) => nameOf(index));
  const manifests = names.map((name, index) => ({
    name,
    version: '1.0.0',
    main: 'index.js',
    dependencies: index % 10 === 9 || index === 0 ? {} : { [nameOf(index + 1)]: '^1.0.0' },
  }));
  for (const [index, manifest] of manifests.entries()) {
    write(join(sources, `${index}`, 'package.json'), JSON.stringify(manifest));
    write(join(sources, `${index}`, 'index.js'), `module.exports = ${index};\n`);
  }
  const tarballs = join(directory, 'files/tarballs');
  mkdirSync(tarballs);
  sh(
    sources,
    `npm pack --silent --pack-destination ${tarballs} ${names.map((_, index) => `./${index}`).join(' ')} >/dev/null`,
  );
  for (const manifest of manifests) {
    const { name } = manifest;
    const file = `${name.replace('@', '').replace('/', '-')}-1.0.0.tgz`;
    const integrity = `sha512-${createHash('sha512')
      .update(readFileSync(join(tarballs, file)))
      .digest('base64')}`;
    for (const host of [CLOSED, OPENED]) {
      const dist = { integrity, tarball: `https://${host}:${PORTS.files}/tarballs/${file}` };
      const document = {
        name,
        'dist-tags': { latest: '1.0.0' },
        versions: { '1.0.0': { ...manifest, dist } },
      };
      const path = join(directory, 'files', `npm-${host}`, name.replace('/', '%2f'));
      write(path, JSON.stringify(document));
      // As castellan writes it: hexadecimal digits are upper case (RFC 3986 §6.2.2.1).
      if (name.includes('/')) linkSync(path, path.replace('%2f', '%2F'));
    }
  }
}

function makeWheel(directory: string, write: Make): void {
  const file = 'castpip-1.0-py3-none-any.whl';
  write(
    join(directory, 'make.py'),
    `import zipfile
with zipfile.ZipFile("${file}", "w") as wheel:
    info = "castpip-1.0.dist-info/"
    wheel.writestr("castpip.py", "answer = 42\\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: castpip\\nVersion: 1.0\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "castpip.py,,\\n" + info + "METADATA,,\\n" + info + "WHEEL,,\\n" + info + "RECORD,,\\n")
`,
  );
  sh(directory, 'python3 make.py && rm make.py');
  write(
    join(directory, 'index.html'),
    `<!DOCTYPE html><html><body><a href="${file}">${file}</a></body></html>\n`,
  );
}

function makeDebian(directory: string, write: Make): void {
  write(
    join(directory, 'p/DEBIAN/control'),
    'Package: castdeb\nVersion: 1\nArchitecture: all\nMaintainer: a <a@demo.test>\nDescription: x\n',
  );
  sh(
    directory,
    `dpkg-deb -b p castdeb.deb >/dev/null
    (cat p/DEBIAN/control; echo "Filename: ./castdeb.deb"; echo "Size: $(stat -c %s castdeb.deb)"; echo "SHA256: $(sha256sum castdeb.deb | cut -d' ' -f1)") > Packages`,
  );
}

/** As a module proxy serves it (go.dev/ref/mod#goproxy-protocol). */
function makeGo(directory: string, write: Make): void {
  const root = 'demo.test/castgo@v1.0.0';
  write(join(directory, 'v1.0.0.info'), '{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}');
  write(join(directory, 'v1.0.0.mod'), 'module demo.test/castgo\n');
  write(
    join(directory, 'make.py'),
    `import zipfile
with zipfile.ZipFile("v1.0.0.zip", "w") as module:
    module.writestr("${root}/go.mod", "module demo.test/castgo\\n")
    module.writestr("${root}/answer.go", "package castgo\\n")
`,
  );
  sh(directory, 'python3 make.py && rm make.py');
}

/** The index is a git repository, which every cargo reads; its config names the host that files come from. */
function makeCargo(directory: string, write: Make): void {
  const source = join(directory, 'cargo-source/castcrate-1.0.0');
  write(join(source, 'Cargo.toml'), '[package]\nname = "castcrate"\nversion = "1.0.0"\nedition = "2018"\n');
  write(join(source, 'src/lib.rs'), 'pub fn answer() -> i32 { 42 }\n');
  const crates = join(directory, 'files/crates');
  mkdirSync(join(crates, 'castcrate/1.0.0'), { recursive: true });
  const crate = join(crates, 'castcrate/1.0.0/download');
  sh(dirname(source), `tar czf ${crate} castcrate-1.0.0`);
  const cksum = createHash('sha256').update(readFileSync(crate)).digest('hex');
  const entry = { name: 'castcrate', vers: '1.0.0', deps: [], cksum, features: {}, yanked: false };
  for (const host of [CLOSED, OPENED]) {
    const index = join(directory, `index-${host}`);
    write(join(index, 'ca/st/castcrate'), `${JSON.stringify(entry)}\n`);
    write(join(index, 'config.json'), JSON.stringify({ dl: `https://${host}:${PORTS.files}/crates` }));
    sh(
      index,
      `git init -q -b main && git add . && git -c user.name=t -c user.email=t@demo.test commit -qm index && git clone -q --bare . ../git/index-${host}.git`,
    );
  }
}
