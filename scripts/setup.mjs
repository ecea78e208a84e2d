#!/usr/bin/env node
// Makes a fresh clone ready and then runs what was asked for. Plain JavaScript, because it starts under
// whatever Node the system has (20 or newer); everything after it runs under the Node that npm brings.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');

/** Debian packages by what proves that they are there; README lists the same names. */
const packages = {
  'libseccomp-dev': ['/usr/include/seccomp.h'],
  nftables: ['/usr/sbin/nft'],
  iproute2: ['/usr/sbin/ip', '/sbin/ip', '/bin/ip'],
  'openssh-client': ['/usr/bin/ssh'],
  curl: ['/usr/bin/curl'],
  openssl: ['/usr/bin/openssl'],
  'ca-certificates': ['/etc/ssl/certs/ca-certificates.crt'],
  'util-linux': ['/usr/bin/nsenter'],
  procps: ['/usr/bin/ps'],
  git: ['/usr/bin/git'],
};
/** What makes programs of the other architecture here, and starts them. */
const [compiler, library] =
  process.arch === 'arm64' ? ['x86_64-linux-gnu', 'amd64'] : ['aarch64-linux-gnu', 'arm64'];
const crossPackages = {
  [`g++-${compiler.replace('_', '-')}`]: [`/usr/bin/${compiler}-g++`],
  [`libc6-dev-${library}-cross`]: [`/usr/${compiler}/include/stdio.h`],
  'qemu-user': ['/usr/bin/qemu-aarch64'],
};
/** What single goals need besides. */
const packagesOf = {
  fuzz: {
    'clang-14': ['/usr/bin/clang-14'],
    'libclang-rt-14-dev': ['x86_64', 'aarch64'].map(
      (arch) => `/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-${arch}.a`,
    ),
  },
  test: { 'tinyproxy-bin': ['/usr/bin/tinyproxy'] },
  bench: {
    bubblewrap: ['/usr/bin/bwrap'],
    tinyproxy: ['/usr/bin/tinyproxy'],
    squid: ['/usr/sbin/squid'],
    haproxy: ['/usr/sbin/haproxy'],
  },
  'test:helm': {
    'golang-go': ['/usr/lib/go/bin/go'],
    'golang-github-masterminds-sprig-dev': ['/usr/share/gocode/src/github.com/Masterminds/sprig'],
    'golang-github-xeipuuv-gojsonschema-dev': ['/usr/share/gocode/src/github.com/xeipuuv/gojsonschema'],
    'golang-k8s-sigs-yaml-dev': ['/usr/share/gocode/src/sigs.k8s.io/yaml'],
  },
  'test:vm': {
    'qemu-system-x86': ['/usr/bin/qemu-system-x86_64'],
    cpio: ['/usr/bin/cpio'],
    kmod: ['/usr/sbin/depmod', '/sbin/depmod'],
    'qemu-system-arm': ['/usr/bin/qemu-system-aarch64'],
    ...crossPackages,
    systemd: ['/usr/lib/systemd/systemd'],
  },
  'test:bundle': {
    binutils: ['/usr/bin/strip'],
    bubblewrap: ['/usr/bin/bwrap'],
    'busybox-static': ['/bin/busybox'],
    'musl-tools': ['/usr/bin/musl-gcc'],
    mandoc: ['/usr/bin/mandoc'],
    zsh: ['/usr/bin/zsh'],
    fish: ['/usr/bin/fish'],
    buildah: ['/usr/bin/buildah'],
    podman: ['/usr/bin/podman'],
    runc: ['/usr/sbin/runc'],
    netavark: ['/usr/lib/podman/netavark'],
    ...crossPackages,
    systemd: ['/usr/lib/systemd/systemd'],
  },
  'test:pod': {
    'busybox-static': ['/bin/busybox'],
    python3: ['/usr/bin/python3'],
    buildah: ['/usr/bin/buildah'],
    podman: ['/usr/bin/podman'],
    runc: ['/usr/sbin/runc'],
    netavark: ['/usr/lib/podman/netavark'],
    catatonit: ['/usr/bin/catatonit'],
  },
  'test:programs': {
    make: ['/usr/bin/make'],
    gcc: ['/usr/bin/gcc'],
    'xz-utils': ['/usr/bin/xz'],
    'python3-venv': ['/usr/share/doc/python3-venv'],
    'golang-go': ['/usr/lib/go/bin/go'],
    rustc: ['/usr/bin/rustc'],
    cargo: ['/usr/bin/cargo'],
    'default-jdk-headless': ['/usr/bin/javac'],
    chromium: ['/usr/bin/chromium'],
    sqlite3: ['/usr/bin/sqlite3'],
    strace: ['/usr/bin/strace'],
  },
  'test:clients': {
    wget: ['/usr/bin/wget'],
    'python3-pip': ['/usr/bin/pip3'],
    'python3-requests': ['/usr/lib/python3/dist-packages/requests'],
    'python3-aiohttp': ['/usr/lib/python3/dist-packages/aiohttp'],
    'python3-websockets': ['/usr/lib/python3/dist-packages/websockets'],
    'golang-go': ['/usr/lib/go/bin/go'],
    cargo: ['/usr/bin/cargo'],
    'default-jdk-headless': ['/usr/bin/javac'],
    chromium: ['/usr/bin/chromium'],
    'apache2-bin': ['/usr/sbin/apache2'],
    postgresql: ['/usr/lib/postgresql'],
    'redis-server': ['/usr/bin/redis-server'],
  },
};

const goals = {
  demo: ['scripts/demo.ts'],
  fuzz: ['test/fuzz/main.ts'],
  test: ['scripts/test.ts'],
  'test:programs': ['scripts/test.ts', '--suite', 'programs'],
  'test:clients': ['scripts/test.ts', '--suite', 'clients'],
  'test:helm': ['scripts/test.ts', '--suite', 'helm'],
  'test:vm': ['scripts/test.ts', '--suite', 'vm'],
  'test:bundle': ['scripts/test.ts', '--suite', 'bundle'],
  'test:pod': ['scripts/test.ts', '--suite', 'pod'],
  bench: ['test/bench/main.ts'],
  profile: ['scripts/profile-start.ts'],
  bundle: ['scripts/bundle.ts'],
};

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0) fail(`${command} ${args.join(' ')} ended with ${result.status ?? result.signal}`);
}

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

function installPackages(wanted) {
  const missing = Object.keys(wanted).filter((name) => !wanted[name].some((path) => existsSync(path)));
  if (missing.length === 0) return;
  if (process.getuid() !== 0) fail(`please install as root: apt-get install ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env });
}

/** Runs `work` unless `inputs` are as they were when it last succeeded. */
function once(name, inputs, proof, work) {
  const stamp = join(root, 'build', `.${name}.stamp`);
  const digest = createHash('sha256');
  for (const input of inputs) digest.update(readFileSync(input));
  const hex = digest.digest('hex');
  if (existsSync(proof) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hex) return;
  work();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hex);
}

/** The registry's packages are installed without their scripts; what those would have built is built here. */
function installModules() {
  const addons = join(root, 'scripts/addons.ts');
  once('modules', [join(root, 'package-lock.json'), fileURLToPath(import.meta.url), addons], node, () => {
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
    run(node, [addons]);
  });
}

const [goal, ...rest] = process.argv.slice(2);
if (goal !== undefined && !(goal in goals))
  fail(`unknown goal ${goal}; one of ${Object.keys(goals).join(', ')}`);
/** The bundles that have to be there for a goal, by the arguments that make them. */
const bundlesOf = {
  'test:bundle': [[], ['--architecture', 'arm64']],
  'test:pod': [[]],
  'test:vm': [['--architecture', 'arm64']],
  bench: [[]],
  profile: [[]],
};
const architecture = /--architecture[ =](\S+)/.exec(goal === 'bundle' ? rest.join(' ') : '')?.[1];
const crosses = architecture !== undefined && architecture.replace('amd', 'x') !== process.arch;
installPackages({ ...packages, ...packagesOf[goal], ...(crosses ? crossPackages : {}) });
installModules();
const bundles = bundlesOf[goal] ?? [];
run('make', ['-s', '-C', 'native', ...(goal === 'bundle' || bundles.length > 0 ? ['bundle'] : [])]);
for (const args of bundles) run(node, [...goals.bundle, ...args]);
if (goal !== undefined) {
  const result = spawnSync(node, [...goals[goal], ...rest], { cwd: root, stdio: 'inherit' });
  process.exitCode = result.status ?? 1;
}
